"""Tasks, one file each: what a batch means, its losses, its metrics."""
