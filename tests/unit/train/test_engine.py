"""How Horovod's engine is started for a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvdtrain import world as worlds
from hvdtrain.recipe import load
from hvdtrain.train import engine


@pytest.mark.parametrize(("sync", "fuses"), [("allreduce", False), ("adasum", True), ("none", True)])
def test_the_engine_fuses_only_what_the_strategy_does_not(
    small_recipe: Path, monkeypatch: pytest.MonkeyPatch, sync: str, fuses: bool
) -> None:
    """Buckets that the engine fused once more would be copied, and their sums made in another order."""
    started = {}

    def start(knobs, *, fuses: bool = True) -> worlds.World:
        started.update(knobs=knobs, fuses=fuses)
        return worlds.Solo()

    monkeypatch.setattr(worlds, "start", start)
    knobs = engine.join(load(small_recipe, [f"sync={{name: {sync}}}"])).knobs
    assert started == {"knobs": {name: knob.value for name, knob in knobs.items()}, "fuses": fuses}
    assert "HOROVOD_FUSION_THRESHOLD" in knobs
