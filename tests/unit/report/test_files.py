from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hvdtrain.errors import RunError, SetupError
from hvdtrain.metrics.records import EndRecord, Record, SampleRecord, StartRecord
from hvdtrain.report.environment import gather_environment
from hvdtrain.report.files import FileReporter, read_history, read_records, write_whole
from hvdtrain.report.markdown import markdown


def write(directory: Path, records: list[Record], close: bool = True) -> None:
    reporter = FileReporter(directory, recipe_yaml="name: x\n", environment={"python": "3"})
    for record in records:
        reporter(record)
    if close:
        reporter.close()


def resumed_at(step: int, start: Record) -> StartRecord:
    assert isinstance(start, StartRecord)
    return dataclasses.replace(start, step=step, resumed_from=f"checkpoints/step-{step}")


def test_a_run_leaves_its_files(
    tmp_path: Path, recording: Callable[..., list[Record]], make_end: Callable[..., EndRecord]
) -> None:
    records = [*recording(200), make_end()]
    write(tmp_path / "deep" / "run", records)
    run = tmp_path / "deep" / "run"
    assert (run / "recipe.yaml").read_text() == "name: x\n"
    assert json.loads((run / "environment.json").read_text()) == {"python": "3"}
    assert read_records(run / "metrics.jsonl") == records
    assert sorted(path.name for path in (run / "samples").iterdir()) == ["step-100.txt", "step-200.txt"]
    report = json.loads((run / "report.json").read_text())
    assert report["status"] == "finished"
    assert report["step_shares"]["backward"] == pytest.approx(0.352 / 0.629)
    assert [one["step"] for one in report["evals"]] == [100, 200]
    assert sorted(path.name for path in run.iterdir() if path.name.startswith(".")) == []


def test_each_record_is_on_the_disk_at_once(tmp_path: Path, recording: Callable[..., list[Record]]) -> None:
    reporter = FileReporter(tmp_path, recipe_yaml="")
    for count, record in enumerate(recording(30), start=1):
        reporter(record)
        assert len(read_records(tmp_path / "metrics.jsonl")) == count
    reporter.close()


def test_a_torn_last_line_is_skipped_and_does_not_spoil_the_next(
    tmp_path: Path, recording: Callable[..., list[Record]]
) -> None:
    records = recording(50)
    write(tmp_path, records)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    assert read_records(path) == records[:-1]
    write(tmp_path, [resumed_at(40, records[0]), *recording(60)[-1:]])
    assert [record.step for record in read_records(path)] == [0, 10, 20, 30, 40, 40, 60]


def test_a_resume_goes_on_in_the_same_file_and_forgets_what_it_went_back_behind(
    tmp_path: Path, recording: Callable[..., list[Record]], make_end: Callable[..., EndRecord]
) -> None:
    records = recording(150)
    write(tmp_path, records)
    write(tmp_path, [resumed_at(100, records[0]), *recording(200)[-4:], make_end()])
    history = read_history(tmp_path)
    assert [record.step for record in history.evals] == [100, 200]
    steps = [record.step for record in read_records(tmp_path / "metrics.jsonl") if record.event == "step"]
    assert steps == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 200]
    assert [one["step"] for one in json.loads((tmp_path / "report.json").read_text())["evals"]] == [100, 200]


def test_a_new_run_in_the_same_directory_sets_the_old_record_aside(
    tmp_path: Path, recording: Callable[..., list[Record]]
) -> None:
    write(tmp_path, recording(50))
    write(tmp_path, recording(10))
    write(tmp_path, recording(20))
    assert len(read_records(tmp_path / "metrics.1.jsonl")) == 6
    assert len(read_records(tmp_path / "metrics.2.jsonl")) == 2
    assert len(read_records(tmp_path / "metrics.jsonl")) == 3


def test_nothing_is_changed_before_the_run_begins(tmp_path: Path, recording: Callable[..., list[Record]]) -> None:
    write(tmp_path, recording(50))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    FileReporter(tmp_path, recipe_yaml="name: other\n").close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_run_that_fails_still_has_a_report(tmp_path: Path, recording: Callable[..., list[Record]]) -> None:
    write(tmp_path, recording(50))
    assert json.loads((tmp_path / "report.json").read_text())["status"] == "failed"
    assert "50 of 500" in (tmp_path / "report.md").read_text()


def test_numbers_that_are_not_finite_stay_readable_json(tmp_path: Path, make_step: Callable[..., Record]) -> None:
    start = StartRecord(**{f.name: f.default for f in ()}, **_start())  # type: ignore[arg-type]
    write(tmp_path, [start, make_step(10, loss=float("nan"))])
    last = json.loads((tmp_path / "report.json").read_text())["last_step"]
    assert last["loss"] == "nan"


def _start() -> dict[str, object]:
    numbers = (
        "step",
        "world_size",
        "hosts",
        "threads_per_worker",
        "total_steps",
        "global_batch_size",
        "micro_batch_size",
    )
    more = (
        "gradient_accumulation_steps",
        "learning_rate",
        "parameters",
        "flops_per_token",
        "train_targets",
        "val_targets",
    )
    words = ("name", "output_dir", "device", "precision", "precision_reason", "learning_rate_rule")
    return dict.fromkeys(numbers + more, 1) | dict.fromkeys(words, "x")


def test_a_directory_that_can_not_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="can't make output_dir"):
        FileReporter(tmp_path / "file" / "run", recipe_yaml="")


def test_a_disk_that_takes_no_more_is_one_clear_error(
    tmp_path: Path, recording: Callable[..., list[Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = FileReporter(tmp_path, recipe_yaml="")
    reporter(recording(0)[0])

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(RunError, match="No space left"):
        reporter(recording(10)[1])
    monkeypatch.undo()
    reporter.close()


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.md"
    write_whole(path, "old")

    def broken(*_: object, **__: object) -> None:
        raise OSError("torn")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="torn"):
        write_whole(path, "new")
    assert [one.name for one in tmp_path.iterdir()] == ["report.md"]
    assert path.read_text() == "old"


def test_no_file_means_no_records(tmp_path: Path) -> None:
    assert read_records(tmp_path / "metrics.jsonl") == []


def test_the_markdown_report_can_not_be_broken_by_what_it_shows(recording: Callable[..., list[Record]]) -> None:
    from hvdtrain.report.history import History

    history = History()
    start = recording(0)[0]
    assert isinstance(start, StartRecord)
    history(dataclasses.replace(start, name="a|b", notes=("<script>x</script>\n# no",)))
    history(SampleRecord(step=1, prompt="```\n# not a title", text="\n```\x1b[2J"))
    text = markdown(history)
    assert text.startswith("# a\\|b\n")
    assert "\n# not a title" not in text
    assert "\n    # not a title" in text
    assert "<script>" not in text
    assert "\x1b" not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {4}


def test_many_evaluations_are_thinned_out_with_the_first_and_the_last_kept() -> None:
    from hvdtrain.metrics.records import EvalRecord
    from hvdtrain.report.history import History

    history = History()
    for step in range(1, 1001):
        history(EvalRecord(step=step, metrics={"loss": 1.0}, samples=1, seconds=1.0))
    rows = [line for line in markdown(history).splitlines() if line.startswith("| ") and line.endswith("| 1.0000 |")]
    assert len(rows) == 40
    assert rows[0].startswith("| 1 |")
    assert rows[-1].startswith("| 1,000 |")


def test_the_environment_has_no_secrets() -> None:
    values = gather_environment({"HOROVOD_CYCLE_TIME": "5", "HOROVOD_SECRET_KEY": "s3cret", "WANDB_API_KEY": "s3cret"})
    assert values["variables"] == {"HOROVOD_CYCLE_TIME": "5"}
    assert "s3cret" not in json.dumps(values)
    assert values["packages"]["numpy"]
