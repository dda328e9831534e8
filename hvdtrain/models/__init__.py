"""Architectures, one file each: a `Config` and a `build()`. Plain single-device torch that knows nothing of workers."""
