"""What N workers buy: the sweep, efficiency, where the rest went, and what other numbers and links would give."""
