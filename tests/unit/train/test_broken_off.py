"""Runs that are broken off where something was still due: it comes first when they go on. One process, in this one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hvdtrain.cli.train import train
from hvdtrain.errors import NonFiniteError
from hvdtrain.train import checkpoint, run
from hvdtrain.train.checkpoint_diff import diff
from hvdtrain.train.loop import Loop
from hvdtrain.train.output import has_ended
from hvdtrain.train.samples import Samples
from hvdtrain.train.saving import Checkpoints

Train = Callable[..., Path]


@pytest.fixture
def trained(small_recipe: Path, tmp_path: Path) -> Train:
    """Train the small recipe with overrides; return its directory."""

    def go(*overrides: str, output: str = "run") -> Path:
        train(str(small_recipe), [f"output_dir={tmp_path / output}", *overrides], plain=True)
        return tmp_path / output

    return go


def records(output: Path, event: str) -> list[dict]:
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


EVERY = ("train.deterministic=true", "train.save_interval=5", "train.eval_interval=10", "train.keep_last=null")


class Planted:
    """What happens to runs: which values evaluations are taken to find, and at which steps a stop is asked for, or a
    loss is no number, once each.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.values: dict[int, float] = {}
        self.stops: list[int] = []
        self.bad: list[int] = []
        see, update = run.Objective.see, Loop._update

        def found(objective: run.Objective, step: int, metrics: dict[str, float]) -> bool:
            return see(objective, step, {objective.metric: self.values[step]} if self.values else metrics)

        def faulty(loop: Loop):
            if self.stops[:1] == [loop.step + 1]:
                loop.interrupt.requested = bool(self.stops.pop(0))
            phase = loop.phases[0].phase
            loss = phase.loss
            if self.bad[:1] == [loop.step + 1]:
                self.bad.pop(0)
                object.__setattr__(phase, "loss", lambda *args: loss(*args) * float("nan"))
            try:
                return update(loop)
            finally:
                object.__setattr__(phase, "loss", loss)

        monkeypatch.setattr(run.Objective, "see", found)
        monkeypatch.setattr(Loop, "_update", faulty)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Planted:
    return Planted(monkeypatch)


@pytest.mark.parametrize("values", [{10: 0.1, 20: 0.2}, {10: 0.2, 20: 0.1}])
def test_an_evaluation_that_was_due_where_a_run_was_stopped_comes_first(
    trained: Train, planted: Planted, values: dict[int, float]
) -> None:
    planted.values = values
    whole = trained(*EVERY, output="whole")
    planted.stops = [10]
    broken = trained(*EVERY)
    assert records(broken, "end")[-1]["reason"] == "stopped"
    assert records(broken, "eval") == []
    trained(*EVERY)
    assert [record["step"] for record in records(broken, "eval")] == [10, 20]
    for step in (15, 20):
        assert not diff(*(output / "checkpoints" / f"step-{step}" for output in (whole, broken)))
    assert checkpoint.best(broken / "checkpoints") == broken / "checkpoints" / f"step-{min(values, key=values.get)}"
    assert (broken / "checkpoints" / "best.json").read_text() == (whole / "checkpoints" / "best.json").read_text()
    assert list((broken / "checkpoints").glob("*.abandoned*")) == []


def test_an_evaluation_that_a_rollback_undid_is_made_again(trained: Train, planted: Planted) -> None:
    planted.values, planted.stops, planted.bad = {10: 0.1, 20: 0.2}, [10], [13]
    trained(*EVERY, "train.on_nonfinite=rollback")
    output = trained(*EVERY, "train.on_nonfinite=rollback")
    assert [record["step"] for record in records(output, "eval")] == [10, 10, 20]
    assert checkpoint.best(output / "checkpoints") == output / "checkpoints" / "step-10"
    assert checkpoint.read(output / "checkpoints" / "step-20").state["objective"]["best"] == [10, 0.1]


def test_the_best_of_a_run_that_another_began_is_its_own(trained: Train, planted: Planted, small_recipe: Path) -> None:
    planted.values, planted.stops = {10: 0.1, 20: 0.2}, [10]
    other = trained(*EVERY, output="other")
    output = other.with_name("run")
    from_there = str(other / "checkpoints" / "step-10")
    train(str(small_recipe), [f"output_dir={output}", *EVERY], resume=from_there, plain=True)
    assert checkpoint.best(output / "checkpoints") == output / "checkpoints" / "step-10"


def test_a_best_that_can_not_be_marked_is_told_and_done_without(
    trained: Train, planted: Planted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planted.values, planted.stops = {10: 0.1, 20: 0.2}, [10]
    goes_on = (*EVERY, "train.on_save_error=continue")
    trained(*goes_on)
    marks = Checkpoints._mark_best
    left = [OSError(28, "No space left on device")]

    def full_at_first(self: Checkpoints, name: str, facts: dict) -> None:
        if left:
            raise left.pop()
        marks(self, name, facts)

    monkeypatch.setattr(Checkpoints, "_mark_best", full_at_first)
    output = trained(*goes_on)
    assert "No space left on device" in records(output, "problem")[0]["problem"]
    assert records(output, "end")[-1]["reason"] == "finished"


def test_a_run_that_was_killed_before_its_end_was_told_tells_it(
    trained: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    output = trained()
    metrics = output / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(line for line in lines if json.loads(line)["event"] not in ("end", "checkpoint")))
    (output / "checkpoints" / "best.json").unlink()
    trained()
    [end] = records(output, "end")
    assert (end["reason"], end["step"]) == ("finished", 20)
    assert end["checkpoint"] == end["best"] == str(output / "checkpoints" / "step-20")
    assert sorted(path.name for path in (output / "checkpoints").iterdir()) == ["best.json", "step-10", "step-20"]
    assert "finished" in (output / "report.md").read_text()
    capsys.readouterr()
    trained()
    assert "small is finished: 20 of 20 steps" in capsys.readouterr().out


def test_a_run_whose_last_checkpoint_was_lost_does_its_last_updates_again(trained: Train) -> None:
    whole = trained("train.deterministic=true", output="whole")
    output = trained("train.deterministic=true")
    (output / "checkpoints" / "step-20" / "model.safetensors").unlink()
    trained("train.deterministic=true")
    assert records(output, "end")[-1]["step"] == 20
    assert not diff(*(folder / "checkpoints" / "step-20" for folder in (whole, output)))


def test_the_rollbacks_of_a_run_are_counted_over_its_resumes(trained: Train, planted: Planted) -> None:
    planted.bad = [8, 13]
    once = ("train.on_nonfinite=rollback", "train.nonfinite_limit=1", "train.save_interval=5")
    trained(*once, "train.max_steps=10", "lr_scheduler={name: constant}")
    with pytest.raises(NonFiniteError, match="step 13: non-finite loss on worker 0"):
        trained(*once, "lr_scheduler={name: constant}")


@pytest.mark.parametrize("last", ["", "[" * 100_000, "[]", '{"event": "end"}', "x", '{"event": "end", "step": []}'])
def test_records_that_end_otherwise_are_no_end(tmp_path: Path, last: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f'{{"event": "end", "step": 20}}\n{last}\n')
    assert not has_ended(tmp_path, 20)


def test_an_image_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "samples" / "step-5.png").symlink_to(victim)
    (tmp_path / "samples" / ".step-5.png.partial").symlink_to(victim)
    shown = SimpleNamespace(image=np.zeros((4, 4), np.uint8), prompt="", text="")
    Samples(tmp_path / "samples").keep(shown, 5)
    assert victim.read_text() == "mine"
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["step-5.png"]
    assert not (tmp_path / "samples" / "step-5.png").is_symlink()


def test_a_link_is_no_checkpoint(trained: Train, tmp_path: Path) -> None:
    output = trained()
    (output / "checkpoints" / "step-30").symlink_to(output / "checkpoints" / "step-20")
    assert [step for step, _ in checkpoint.found(output / "checkpoints")] == [20, 10]
    (output / "checkpoints" / "best.json").write_text('{"checkpoint": "step-30"}')
    assert checkpoint.best(output / "checkpoints") is None
    writer = Checkpoints(output / "checkpoints", recipe="", save_tokenizer=None, keep_last=1)
    writer.begin(20, None)
    assert (output / "checkpoints" / "step-30").is_symlink(), "what is not ours stays"
