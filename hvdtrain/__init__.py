"""hvdtrain: models trained data-parallel with Horovod, from recipe files."""

__version__ = "0.1.0"
