"""Data sources, one file each: a `Config`, and what the source has: `documents(config)`, `examples(config)`,
`sequences(config)` or `environments(config)`; a `DOWNLOAD` where it is fetched. Free of torch."""
