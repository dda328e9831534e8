"""What a run does to its directory: begun, finished, gone back, refused. One process, in this one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hvdtrain.cli.train import train
from hvdtrain.errors import CheckpointError, DataError, NonFiniteError, RecipeError, SetupError
from hvdtrain.train import checkpoint

Train = Callable[..., Path]


@pytest.fixture
def trained(small_recipe: Path, tmp_path: Path) -> Train:
    """Train the small recipe with overrides; return its directory."""

    def run(*overrides: str, resume: str = "auto", output: str = "run") -> Path:
        train(str(small_recipe), [f"output_dir={tmp_path / output}", *overrides], resume=resume, plain=True)
        return tmp_path / output

    return run


def records(output: Path, event: str) -> list[dict]:
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_left_as_it_is(trained: Train, capsys: pytest.CaptureFixture[str]) -> None:
    output = trained()
    before = contents(output)
    capsys.readouterr()
    trained()
    assert contents(output) == before
    assert "small is finished: 20 of 20 steps" in capsys.readouterr().out


def test_beginning_anew_keeps_the_run_that_was_there(trained: Train, tmp_path: Path) -> None:
    before = contents(trained())
    trained("train.max_steps=4", resume="never")
    kept = {path.replace("/run.1/", "/run/"): content for path, content in contents(tmp_path / "run.1").items()}
    assert kept == before
    assert [r["step"] for r in records(tmp_path / "run", "end")] == [4]


def test_a_run_that_is_refused_moves_and_makes_nothing(trained: Train, tmp_path: Path) -> None:
    before = contents(trained())
    with pytest.raises(DataError):
        trained("data.paths=[/no/such/corpus]", resume="never")
    with pytest.raises(DataError):
        trained("data.paths=[/no/such/corpus]", output="other")
    assert contents(tmp_path / "run") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_recipe_of_the_users_is_not_overwritten(trained: Train, tmp_path: Path) -> None:
    own = tmp_path / "run" / "recipe.yaml"
    own.parent.mkdir()
    own.write_text("# mine\n")
    with pytest.raises(SetupError, match="holds a recipe.yaml that no run wrote"):
        trained()
    assert own.read_text() == "# mine\n"


def test_going_back_sets_later_checkpoints_aside(trained: Train, tmp_path: Path) -> None:
    output = trained()
    trained("train.keep_last=1", "train.max_steps=15", resume=str(output / "checkpoints" / "step-10"))
    names = sorted(path.name for path in (output / "checkpoints").iterdir())
    assert names == ["best.json", "step-15", "step-20.abandoned"]
    assert checkpoint.newest(output / "checkpoints")[0] == output / "checkpoints" / "step-15"
    assert [r["step"] for r in records(output, "start")] == [0, 10]


def test_a_longer_run_goes_on_where_the_shorter_ended(trained: Train) -> None:
    constant = "lr_scheduler={name: constant}"
    trained(constant, "train.max_steps=7")
    output = trained(constant)
    losses = [r["loss"] for r in records(output, "step")]
    assert losses == [r["loss"] for r in records(trained(constant, output="whole"), "step")]
    assert [r["tokens"] for r in records(output, "step")] == [192 * step for step in range(1, 21)]


def test_epochs_count_the_samples_that_are_left(trained: Train) -> None:
    """The first epoch ends with a ragged batch; the second must still train on all of its samples."""
    constant = ("lr_scheduler={name: constant}", "train.max_steps=null", "train.log_interval=1000")
    trained(*constant, "train.epochs=1")
    output = trained(*constant, "train.epochs=2")
    once, twice = (r["samples"] for r in records(output, "end"))
    assert once % 12, "the corpus must not divide, or this shows nothing"
    assert twice == 2 * once


def test_weights_that_overflow_are_never_saved(trained: Train, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"step 1: non-finite weights on worker 0; .*none was saved"):
        trained("optimizer.lr=1e38", "lr_scheduler={name: constant, warmup_steps: 0}", "train.save_interval=1")
    assert checkpoint.found(tmp_path / "run" / "checkpoints") == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.n_layers=1", "another model: n_layers 2 there and n_layers 1 here"),
        ("seed=5", "another"),
        ("train.global_batch_size=24", "set train.global_batch_size=12 to continue it with 1 workers"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(trained: Train, change: str, said: str) -> None:
    output = trained()
    before = contents(output)
    with pytest.raises(CheckpointError) as raised:
        trained(change, "train.max_steps=30")
    assert said in str(raised.value)
    assert contents(output) == before


@pytest.mark.parametrize("linked", ["checkpoints", "samples", "metrics.jsonl"])
def test_nothing_is_written_through_a_link(trained: Train, tmp_path: Path, linked: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / linked).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SetupError, match=f"{linked} there is a symbolic link"):
        trained()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_rate_that_could_only_rise_is_refused(trained: Train) -> None:
    scaled = "lr_scheduler={name: cosine, min_lr: 3e-4, batch_size_scaling: linear, base_batch_size: 1024}"
    with pytest.raises(RecipeError, match=r"lr_scheduler.min_lr = 0.0003: must not exceed"):
        trained(scaled)


def test_rates_hold_all_wall_time(trained: Train) -> None:
    steps = records(trained("train.eval_interval=0", "train.save_interval=0"), "step")
    accounted = sum(192 / record["tokens_per_second"] for record in steps)
    assert accounted == pytest.approx(steps[-1]["elapsed"], rel=0.1)


def test_a_reader_that_leaves_stops_the_run_with_a_checkpoint(small_recipe: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hvdtrain", "train", small_recipe, f"output_dir={tmp_path / 'run'}"]
    process = subprocess.Popen([*map(str, command), "train.max_steps=100000"], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    [end] = records(tmp_path / "run", "end")
    assert end["reason"] == "stopped"
    assert checkpoint.newest(tmp_path / "run" / "checkpoints")[0] is not None


def test_a_run_ends_where_it_no_longer_improves_and_the_best_is_kept(trained: Train) -> None:
    """A learning rate so large that no evaluation is better than the first."""
    worse = ("optimizer.lr=3", "lr_scheduler={name: constant, warmup_steps: 0}", "train.max_grad_norm=null")
    every = ("train.eval_interval=1", "train.save_interval=0", "train.keep_last=1")
    output = trained(*worse, *every, "train.early_stopping={patience: 3}")
    evaluations, [end] = records(output, "eval"), records(output, "end")
    losses = [r["metrics"]["loss"] for r in evaluations]
    best = losses.index(min(losses))
    assert (end["reason"], end["step"]) == ("converged", best + 1 + 3)
    assert end["step"] < 20
    assert [r["best"] for r in evaluations] == [loss == min(losses[: i + 1]) for i, loss in enumerate(losses)]
    assert end["best"] == str(output / "checkpoints" / f"step-{best + 1}")
    kept = {path.name for path in (output / "checkpoints").glob("step-*")}
    assert kept == {f"step-{best + 1}", f"step-{end['step']}"}


def test_a_run_that_has_converged_is_finished(trained: Train, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("optimizer.lr=3", "train.eval_interval=1", "train.early_stopping={patience: 1, min_delta: 100}")
    output = trained(*settings)
    before = contents(output)
    trained(*settings)
    assert contents(output) == before
    assert "small is finished: 2 of 20 steps" in capsys.readouterr().out


def test_resuming_knows_the_best_of_before(trained: Train) -> None:
    best_first = ("optimizer.lr=3", "lr_scheduler={name: constant, warmup_steps: 0}", "train.max_grad_norm=null")
    trained(*best_first, "train.eval_interval=1", "train.max_steps=4")
    output = trained(*best_first, "train.eval_interval=1", "train.max_steps=6")
    evaluations, ends = records(output, "eval"), records(output, "end")
    losses = [r["metrics"]["loss"] for r in evaluations]
    assert losses.index(min(losses)) < 4, "the best must come first, or this shows nothing"
    assert ends[0]["best"] == ends[1]["best"] == str(output / "checkpoints" / f"step-{losses.index(min(losses)) + 1}")


def test_early_stopping_without_evaluations_is_refused(trained: Train) -> None:
    with pytest.raises(RecipeError, match=r"early_stopping.*needs evaluations; set train\.eval_interval"):
        trained("train.eval_interval=0", "train.early_stopping={patience: 3}")


def test_going_back_makes_the_best_of_before_the_best_again(trained: Train) -> None:
    """Its own later checkpoint, of the same step as the one that was set aside, must not be taken for the best."""
    output = trained("train.eval_interval=5", "train.save_interval=5", "train.keep_last=null")
    assert checkpoint.best(output / "checkpoints") == output / "checkpoints" / "step-20"
    worse = ("optimizer.lr=3", "lr_scheduler={name: constant, warmup_steps: 0}", "train.max_grad_norm=null")
    back = str(output / "checkpoints" / "step-10")
    trained("train.eval_interval=5", "train.save_interval=5", "train.keep_last=null", *worse, resume=back)
    losses = {r["step"]: r["metrics"]["loss"] for r in records(output, "eval")}
    assert losses[20] > losses[10], "the way back must be worse, or this shows nothing"
    assert checkpoint.best(output / "checkpoints") == output / "checkpoints" / "step-10"


def test_without_keep_best_none_is_marked(trained: Train) -> None:
    output = trained("train.keep_best=false")
    assert checkpoint.best(output / "checkpoints") is None
    assert records(output, "end")[0]["best"] is None


def test_another_metric_may_choose(trained: Train) -> None:
    """Perplexity is the exp of the loss, so that the largest one is the worst loss."""
    output = trained("train.eval_interval=5", "train.objective={metric: perplexity, mode: max}")
    losses = {r["step"]: r["metrics"]["loss"] for r in records(output, "eval")}
    assert checkpoint.best(output / "checkpoints").name == f"step-{max(losses, key=losses.get)}"
    assert records(output, "start")[0]["objective"] == ["perplexity", "max"]


def test_a_metric_that_is_not_there_can_not_choose(trained: Train) -> None:
    with pytest.raises(
        RecipeError, match=r"train\.objective: follows the metric 'acuracy', which .* \(they give loss, "
    ):
        trained("train.objective={metric: acuracy, mode: max}")


def test_batchnorm_that_is_not_there_can_not_be_synchronised(trained: Train) -> None:
    with pytest.raises(RecipeError, match=r"train\.sync_batchnorm = true: model gpt .* has no BatchNorm"):
        trained("train.sync_batchnorm=true")


def test_the_last_updates_of_a_run_that_converged_are_logged(trained: Train) -> None:
    output = trained(
        "train.log_interval=7", "train.eval_interval=2", "train.early_stopping={patience: 1, min_delta: 99}"
    )
    assert records(output, "end")[0]["step"] == 4
    assert [r["step"] for r in records(output, "step")] == [4]


def test_a_compiled_model_trains_evaluates_and_samples_as_it_would_otherwise(
    trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled down to PyTorch's own operators, which need no compiler of C++."""
    compiled = []
    compile_with = torch.nn.Module.compile

    def compile_to_operators(module: torch.nn.Module) -> None:
        compiled.append(module)
        compile_with(module, backend="aot_eager")

    plain = records(trained("train.max_steps=6", output="plain"), "step")
    assert not compiled
    monkeypatch.setattr(torch.nn.Module, "compile", compile_to_operators)
    output = trained("train.compile=true", "train.max_steps=6", "train.eval_interval=3", output="compiled")
    assert len(compiled) == 1
    assert [r["loss"] for r in records(output, "step")] == pytest.approx([r["loss"] for r in plain], rel=1e-5)
    assert len(records(output, "eval")) == 2
