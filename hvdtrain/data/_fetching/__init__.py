"""Getting archives through the tools that are there for it, pip and apt, checked; and reading them without trust."""
