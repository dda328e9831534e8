"""The comparison with peers runs, and what it calls the same module computes the same."""

from __future__ import annotations

from pathlib import Path

import compare_peers as peers
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_ddp_around_the_same_module_has_hvdtrains_losses(precision: str, small_recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("horovod.torch", reason="Horovod is not installed")
    changes = ("lr_scheduler={name: constant, warmup_steps: 0}", "train.global_batch_size=null", "sync.cycle_time_ms=1")
    sides = ["hvdtrain", "ddp_identical", *(["ddp_plain"] if precision == "fp32" else [])]
    overrides = [word for change in changes for word in ("--override", change)]
    length = ["--steps", "6", "--window", "3", "--rounds", "1", "--controller", "gloo"]
    asked = peers.parse(["--no-install", "--recipes", str(small_recipe), "--sides", *sides, *length, *overrides])
    case = peers.Case(str(small_recipe), precision)
    found = peers.measure(case, peers.sides_of(case, asked), tmp_path, asked)
    assert list(found) == sides
    for one in found.values():
        assert len(one.rates) == 1
        assert one.rates[0] > 0
        assert one.peak > 50e6
    assert len(found["hvdtrain"].losses) == 2
    assert found["ddp_identical"].losses == pytest.approx(found["hvdtrain"].losses, rel=1e-6)
    assert peers.results([{case: found}], asked)["cases"][0]["largest_difference_of_losses"]["ddp_identical"] < 1e-6
