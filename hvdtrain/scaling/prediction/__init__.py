"""The cost model: what other numbers of workers and other links would give."""
