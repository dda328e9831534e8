"""What the sources share that come with scikit-learn."""

from __future__ import annotations

import re
from pathlib import Path

from hvdtrain.data._download import PypiArchive, read_members

# A wheel of one platform, read and never installed: building the source archive's metadata would take a compiler.
ARCHIVE = PypiArchive(
    "scikit_learn",
    "1.7.2",
    "e5bf3d930aee75a65478df91ac1225ff89cd28e9ac7bd1196853a9229b6adb0b",
    "cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64",
)


def data_file(archive: Path, name: str) -> bytes:
    """Return a file of `sklearn/datasets/data`."""
    return read_members(archive, re.compile(re.escape(f"sklearn/datasets/data/{name}")))[name]
