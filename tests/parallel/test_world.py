"""The collectives of `hvdtrain.world` on real Horovod workers."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.parametrize("workers", [2, 3])
def test_collectives_hold_on_every_worker(horovodrun, workers_folder: Path, workers: int) -> None:
    finished = horovodrun(workers, workers_folder / "collectives.py")
    assert finished.stdout.count("collectives hold on worker") == workers
