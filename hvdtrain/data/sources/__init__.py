"""Data sources, one file each: a `Config` and `documents(config)`; a `DOWNLOAD` where it is fetched. Free of torch."""
