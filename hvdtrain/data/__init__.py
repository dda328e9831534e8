"""Data: sources, one file each, and what makes training batches of them: splitting, tokenising, partitioning, loading.

The way of the data: `fetch` (once) -> a source's documents or examples -> `prepare` (once a host) -> a data set ->
`loader`.
"""
