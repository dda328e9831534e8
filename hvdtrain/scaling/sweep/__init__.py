"""The sweep: which trials, their store, the figures that follow, and why they are as they are."""
