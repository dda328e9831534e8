"""What the data tests share: an empty cache for each test."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone; the folder does not exist yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("HVDTRAIN_CACHE", str(folder))
    return folder
