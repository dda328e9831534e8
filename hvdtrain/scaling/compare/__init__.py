"""Strategies of synchronisation side by side: which are compared, their runs in rounds, and what these show."""
