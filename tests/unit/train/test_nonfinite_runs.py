"""What a run does about a loss that is no number: stops, skips the batch, or goes back. One process, in this one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hvdtrain.cli.train import train
from hvdtrain.errors import NonFiniteError, RecipeError, RunError
from hvdtrain.train import checkpoint, saving
from hvdtrain.train.loop import Loop
from hvdtrain.train.nonfinite import Statistics

Train = Callable[..., Path]


@pytest.fixture
def run(small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Train the small recipe, the loss being NaN in some updates, each of them only the first time if `once`."""

    def go(*overrides: str, bad: tuple[int, ...] = (), once: bool = True) -> Path:
        update, left = Loop._update, set(bad)

        def faulty(self: Loop):
            phase = self.phases[0].phase
            loss = phase.loss
            if self.step + 1 in left:
                object.__setattr__(phase, "loss", lambda *args: loss(*args) * float("nan"))
                left.difference_update({self.step + 1} if once else ())
            try:
                return update(self)
            finally:
                object.__setattr__(phase, "loss", loss)

        monkeypatch.setattr(Loop, "_update", faulty)
        train(str(small_recipe), [f"output_dir={tmp_path / 'run'}", "train.keep_last=null", *overrides], plain=True)
        return tmp_path / "run"

    return go


def records(output: Path, event: str) -> list[dict]:
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


def state(output: Path, step: int) -> checkpoint.Snapshot:
    return checkpoint.read(output / "checkpoints" / f"step-{step}")


def test_a_skipped_update_leaves_no_trace_but_its_place(run: Train, capsys: pytest.CaptureFixture[str]) -> None:
    output = run("train.on_nonfinite=skip", "train.save_interval=1", bad=(7,))
    before, after, later = (state(output, step) for step in (6, 7, 8))
    for name, tensor in before.model.items():
        assert torch.equal(after.model[name], tensor)
        assert not torch.equal(later.model[name], tensor)
    for name, tensor in before.optimizer.items():
        assert torch.equal(after.optimizer[name], tensor)
    assert after.state["loader"]["position"] == 7 * 12, "the batch is gone, it does not come again"
    [problem] = records(output, "problem")
    assert (problem["step"], problem["problem"]) == (7, "step 7: non-finite loss on worker 0")
    assert records(output, "end")[-1]["reason"] == "finished"
    assert "warning: step 7: non-finite loss on worker 0: its batch was skipped" in capsys.readouterr().out
    assert "non-finite loss on worker 0" in (output / "report.md").read_text()


def test_the_mean_of_a_window_is_that_of_the_updates_that_were_made(run: Train) -> None:
    output = run("train.on_nonfinite=skip", "train.log_interval=5", bad=(7,))
    assert all(abs(record["loss"]) < 10 for record in records(output, "step"))


def test_a_run_that_only_skips_stops(run: Train) -> None:
    with pytest.raises(NonFiniteError, match="step 10: non-finite loss on worker 0, after 3 updates in a row"):
        run("train.on_nonfinite=skip", "train.nonfinite_limit=3", bad=tuple(range(7, 21)), once=False)


def test_skips_that_are_apart_do_not_add_up(run: Train) -> None:
    output = run("train.on_nonfinite=skip", "train.nonfinite_limit=1", bad=(3, 5, 7, 9))
    assert [problem["step"] for problem in records(output, "problem")] == [3, 5, 7, 9]


def test_running_statistics_are_put_back() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    model(torch.randn(8, 3))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    kept = Statistics(model)
    model(torch.full((8, 3), float("nan")))
    assert model[1].running_mean.isnan().all()
    kept.put_back()
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name])


def test_a_rollback_goes_back_to_the_checkpoint_and_on_with_other_samples(run: Train) -> None:
    output = run("train.on_nonfinite=rollback", "train.save_interval=5", bad=(8,))
    [problem] = records(output, "problem")
    assert problem["step"] == 5
    assert "back from step 7 to 5, and on with other samples (rollback 1 of at most 10)" in problem["action"]
    steps = [record["step"] for record in records(output, "step")]
    assert steps == [*range(1, 8), *range(6, 21)]
    # Steps 6 and 7 and the bad batch of step 8 are left out: three batches more than 20 steps take.
    assert state(output, 20).state["loader"]["position"] == 23 * 12


def test_a_rollback_that_helps_nothing_ends(run: Train) -> None:
    with pytest.raises(NonFiniteError, match=r"step 8: .*the last good checkpoint: .*step-5"):
        run("train.on_nonfinite=rollback", "train.save_interval=5", "train.nonfinite_limit=2", bad=(8,), once=False)


def test_without_a_checkpoint_there_is_nothing_to_go_back_to(run: Train) -> None:
    with pytest.raises(NonFiniteError, match="step 3: .*none was saved"):
        run("train.on_nonfinite=rollback", bad=(3,))


def test_what_a_rollback_undid_is_not_in_the_report(run: Train) -> None:
    from hvdtrain.report.files import read_history

    history = read_history(run("train.on_nonfinite=rollback", "train.save_interval=5", bad=(8,)))
    assert [record.step for record in history.curve] == list(range(1, 21))


def test_a_checkpoint_that_can_not_be_written_is_told_and_done_without(
    run: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = saving.save_file

    def full_at_first(tensors, path: Path) -> None:
        if "step-5" in str(path):
            raise OSError(28, "No space left on device")
        written(tensors, path)

    monkeypatch.setattr(saving, "save_file", full_at_first)
    output = run("train.on_save_error=continue", "train.save_interval=5")
    [problem] = records(output, "problem")
    assert "No space left on device" in problem["problem"]
    assert sorted(step for step, _ in checkpoint.found(output / "checkpoints")) == [10, 15, 20]
    assert "the run goes on without it" in capsys.readouterr().out


@pytest.mark.parametrize(("policy", "step"), [("stop", 5), ("continue", 20)])
def test_the_last_checkpoint_must_be_written(
    run: Train, monkeypatch: pytest.MonkeyPatch, policy: str, step: int
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "save_file", full)
    with pytest.raises(RunError, match=f"can't write checkpoint .*step-{step}"):
        run(f"train.on_save_error={policy}", "train.save_interval=5", "train.eval_interval=0")


def test_what_the_recipe_may_say(run: Train) -> None:
    with pytest.raises(RecipeError, match=r"train\.on_nonfinite"):
        run("train.on_nonfinite=ignore")
