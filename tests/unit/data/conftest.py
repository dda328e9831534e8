"""What the data tests share: an empty cache for each test, and data sets that the user has fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from hvdtrain.data import cache
from hvdtrain.registry import find


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone; the folder does not exist yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("HVDTRAIN_CACHE", str(folder))
    return folder


@pytest.fixture
def fetched(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Gives a source by its name, with the files of the user's cache; skips the test where they are not there."""

    def get(name: str) -> ModuleType:
        monkeypatch.setenv("HVDTRAIN_CACHE", str(own_cache))
        source = find("data", name)
        if cache.read(source.DOWNLOAD.entry) is None:
            pytest.skip(f"{name} is not in the user's cache: hvdtrain data fetch {name}")
        return source

    return get
