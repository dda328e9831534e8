"""Partitions, one file each: which worker gets which sample.

Each has a `Config`, whose `depends_on_workers` says whether a run's figures depend on their number, and
`build(config, dataset, seed, workers)`, which returns an `Order` or `Parts` (see `_partition.py`).
"""
