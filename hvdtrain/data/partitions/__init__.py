"""Partitions, one file each: a `Config` and `build(config, samples, seed)`, the order in which samples are dealt."""
