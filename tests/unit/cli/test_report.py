"""`hvdtrain report`: which of its forms a path gets, and where the files go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from hvdtrain.cli.report import report
from hvdtrain.errors import UserError
from hvdtrain.metrics.lines import dumps
from hvdtrain.metrics.records import PHASES, EvalRecord, Record, StartRecord, StepRecord
from hvdtrain.metrics.study import Interval, SizeResult, Study

app = typer.Typer()
app.command()(report)
FILES = ["report.html", "report.json", "report.md", "report.png"]
SECONDS = {"step": 0.5} | {name: 0.5 / len(PHASES) for name in PHASES}


def call(*arguments: object, catch: bool = False) -> str:
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=catch)
    assert result.exit_code == 0
    return result.output


def leave_run(directory: Path, name: str = "tiny", lr: str = "1e-3") -> Path:
    directory.mkdir()
    (directory / "recipe.yaml").write_text(f"name: {name}\noptimizer:\n  lr: {lr}\n")
    numbers = dict.fromkeys(("train_targets", "val_targets", "parameters", "threads_per_worker", "hosts"), 1)
    batch = {"global_batch_size": 8, "micro_batch_size": 8, "gradient_accumulation_steps": 1}
    words = {"device": "CPU", "precision": "fp32", "precision_reason": "", "learning_rate_rule": ""}
    numbers |= batch | {"world_size": 1, "total_steps": 30}
    start = {"name": name, "output_dir": str(directory), "learning_rate": 1e-3, "flops_per_token": 1.0}
    records: list[Record] = [StartRecord(step=0, **start, **numbers, **words)]  # type: ignore[arg-type]
    for step in (10, 20, 30):
        rates = {"samples_per_second": 16.0, "tokens_per_second": 2048.0, "world_size": 1}
        counts = {"samples": 8 * step, "tokens": 1024 * step}
        values = {"loss": 3.0 / step, "lr": 1e-3, "grad_norm": 1.0, "seconds": SECONDS}
        records.append(StepRecord(step=step, **values, **counts, **rates))  # type: ignore[arg-type]
    records.append(EvalRecord(step=30, metrics={"loss": 0.25}, samples=8, seconds=0.1))
    (directory / "metrics.jsonl").write_text("".join(dumps(record) + "\n" for record in records))
    return directory


def leave_sweep(directory: Path, name: str = "swept") -> Path:
    one = Interval(median=2.0, low=2.0, high=2.0, launches=1, kind="one launch")
    batch = {"global_batch_size": 8, "micro_batch_size": 8}
    rates = {"samples_per_second": one, "tokens_per_second": one, "step": one}
    size = SizeResult(mode="weak", workers=1, split=SECONDS, **batch, **rates)  # type: ignore[arg-type]
    made = Study(name=name, recipe="r.yaml", created="today", command="c", repeats=1, steps=5, sizes=(size,))
    directory.mkdir()
    (directory / "report.json").write_text(made.model_dump_json())
    return directory


def reports(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("report.*"))


def test_a_run_is_summed_up_and_its_report_written_anew(tmp_path: Path) -> None:
    path = leave_run(tmp_path / "run")
    output = call(path)
    for fact in ("tiny: ended without a last record", "30 of 30", "0.2500", "0.1000"):
        assert fact in output
    assert f"written: {path}/report.{{json,md,html,png}}" in output
    assert reports(path) == FILES


def test_a_report_can_go_elsewhere_or_nowhere(tmp_path: Path) -> None:
    path = leave_run(tmp_path / "run")
    assert "written" not in call(path, "--no-files")
    assert reports(path) == []
    assert f"written: {tmp_path / 'there'}/" in call(path, "--output", tmp_path / "there")
    assert reports(path) == []
    assert reports(tmp_path / "there") == FILES


def test_a_sweep_is_shown_and_its_report_written_anew(tmp_path: Path) -> None:
    path = leave_sweep(tmp_path / "sweep")
    output = call(path / "report.json")
    assert "Scaling of swept" in output
    assert reports(path) == FILES


def test_several_sweeps_are_shown_one_after_the_other(tmp_path: Path) -> None:
    output = call(leave_sweep(tmp_path / "a", "first"), leave_sweep(tmp_path / "b", "second"), "--no-files")
    assert output.index("Scaling of first") < output.index("Scaling of second")


def test_several_runs_stand_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [leave_run(tmp_path / "a"), leave_run(tmp_path / "b", lr="3e-4")]
    output = call("a", "b")
    assert "optimizer.lr  0.001  0.0003" in output
    assert "written: report/report.{json,md,html,png}" in output
    assert reports(tmp_path / "report") == FILES
    assert [reports(path) for path in paths] == [[], []]


def test_output_fits_eighty_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    paths = [leave_run(tmp_path / str(index), name="a-rather-long-name-of-a-run") for index in range(8)]
    for line in call(*paths, "--no-files").splitlines():
        assert len(line.rstrip()) <= 80


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda at: [at / "nothing"], "nothing does not exist; expected the directory of a run"),
        (lambda at: [at], "there is no run here; expected"),
        (lambda at: [leave_run(at / "a"), leave_sweep(at / "b")], "a is a run and .*b a sweep"),
        (lambda at: [leave_run(at / "a"), "--no-files", "--output", at], "exclude each other"),
        (lambda at: [leave_sweep(at / "a"), leave_sweep(at / "b"), "-o", at], "--output takes the report of one"),
    ],
)
def test_a_mistake_is_one_clear_error(make: Callable[[Path], list[object]], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        call(*make(tmp_path))


def test_a_report_that_can_not_be_written_is_one_clear_error(tmp_path: Path) -> None:
    path = leave_run(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another --output, or --no-files"):
        call(path, "--output", tmp_path / "file" / "out")
