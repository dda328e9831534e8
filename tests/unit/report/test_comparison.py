from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from hvdtrain.errors import UserError
from hvdtrain.metrics.lines import dumps
from hvdtrain.metrics.records import EndRecord, EvalRecord, Record, StartRecord, StepRecord
from hvdtrain.report.comparison import (
    comparison_console,
    comparison_document,
    letters,
    rate,
    split,
    workers,
    write_comparison,
)
from hvdtrain.report.comparison_plots import clock, comparison_panels
from hvdtrain.report.document import Paragraph, Table
from hvdtrain.report.sources import RunSource, StudySource, differences, find, flatten
from hvdtrain.report.study import write_study

RECIPE = """\
name: {name}
seed: 1
model: {{name: gpt, d_model: 64}}
optimizer: {{name: adamw, lr: {lr}, betas: [0.9, {beta}]}}
output_dir: runs/{name}
"""
Leave = Callable[..., Path]


@pytest.fixture
def leave(tmp_path: Path) -> Leave:
    """Leave a run's files in a directory below the test's own."""

    def write(directory: str, records: list[Record], recipe: str = "", torn: bool = False, **values: object) -> Path:
        path = tmp_path / directory
        path.mkdir()
        text = recipe or RECIPE.format(**({"name": directory, "lr": "1e-3", "beta": 0.95} | values))
        (path / "recipe.yaml").write_text(text)
        lines = "".join(dumps(record) + "\n" for record in records)
        (path / "metrics.jsonl").write_text(lines[:-25] if torn else lines)  # a killed run's last line is a part
        return path

    return write


def run(path: Path) -> RunSource:
    found = find(path)
    assert isinstance(found, RunSource)
    return found


def printed(runs: list[RunSource], width: int) -> str:
    terminal = Console(width=width, file=io.StringIO(), color_system=None)
    terminal.print(comparison_console(runs, width))
    return terminal.file.getvalue()  # type: ignore[attr-defined]


def table(runs: list[RunSource], having: str) -> dict[str, tuple[str, ...]]:
    """The table that has a column of that name: each of its columns by name."""
    for block in comparison_document(runs):
        if isinstance(block, Table) and having in block.columns:
            return dict(zip(block.columns, zip(*block.rows, strict=True), strict=True))
    raise AssertionError(having)


def others(records: list[Record], **changes: object) -> list[Record]:
    """The records of a run of another task: its evaluations have other metrics."""
    return [dataclasses.replace(one, **changes) if isinstance(one, EvalRecord) else one for one in records]


def test_a_run_is_found_by_its_directory_or_a_file_in_it(leave: Leave, recording: Callable[..., list[Record]]) -> None:
    path = leave("a", recording(100))
    for name in ("report.html", "report.json"):
        (path / name).write_text("{}")
    for one in (path, path / "metrics.jsonl", path / "report.html", path / "report.json"):
        found = run(one)
        assert found.directory == path
        assert found.history.steps_done == 100
        assert found.recipe is not None
        assert found.recipe["optimizer.lr"] == 1e-3


def test_a_sweep_is_found_by_its_directory_or_its_report(tmp_path: Path, study: Callable[..., object]) -> None:
    write_study(tmp_path / "sweep", study())  # type: ignore[arg-type]
    for one in (tmp_path / "sweep", tmp_path / "sweep" / "report.json", tmp_path / "sweep" / "report.md"):
        found = find(one)
        assert isinstance(found, StudySource)
        assert found.study == study()


def test_a_killed_run_is_what_its_whole_lines_say(leave: Leave, recording: Callable[..., list[Record]]) -> None:
    found = run(leave("a", recording(95), torn=True))
    assert found.history.steps_done == 80
    assert found.history.end is None


def test_where_there_is_no_run_the_message_says_what_is_expected(
    tmp_path: Path, leave: Leave, recording: Callable[..., list[Record]]
) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist; expected the directory of a run"):
        find(tmp_path / "nowhere")
    path = leave("a", recording(10))
    with pytest.raises(UserError, match=rf"no run here; expected .*metrics\.jsonl.*below it there are: {path}"):
        find(tmp_path)
    with pytest.raises(UserError, match=r"recipe\.yaml: expected"):
        find(path / "recipe.yaml")
    (path / "metrics.jsonl").write_text('{"event": "sta')
    with pytest.raises(UserError, match="holds no records of a run"):
        find(path)


def test_nested_keys_become_dotted_ones() -> None:
    values = {"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": {}, "g": None}
    assert flatten(values) == {"a.b.c": 1, "a.d": [1, {"e": 2}], "f": {}, "g": None}


def test_exactly_the_differing_keys_are_shown(leave: Leave, recording: Callable[..., list[Record]]) -> None:
    runs = [
        run(leave("a", recording(10))),
        run(leave("b", recording(10), lr="3e-4")),
        run(leave("c", recording(10), beta=0.99)),
    ]
    shown = table(runs, "optimizer.lr")
    assert shown == {
        "key": ("A", "B", "C"),
        "optimizer.lr": ("0.001", "0.0003", "0.001"),
        "optimizer.betas": ("[0.9, 0.95]", "[0.9, 0.95]", "[0.9, 0.99]"),
    }


def test_values_that_differ_only_in_kind_do_differ() -> None:
    assert differences([{"k": False}, {"k": 0}]) == {"k": ["false", "0"]}
    assert differences([{"k": 1}, {}]) == {"k": ["1", "-"]}
    assert differences([{"k": "-"}, {}]) == {"k": ['"-"', "-"]}
    assert differences([{"k": 1}, None]) == {}


def test_equal_and_missing_recipes_are_said(leave: Leave, recording: Callable[..., list[Record]]) -> None:
    a, b = leave("a", recording(10)), leave("b", recording(10))
    said = [block.text for block in comparison_document([run(a), run(b)]) if isinstance(block, Paragraph)]
    assert said == ["They do not differ, but for name and output_dir."]
    (b / "recipe.yaml").unlink()
    (a / "recipe.yaml").write_text("a: [")
    said = [block.text for block in comparison_document([run(a), run(b)]) if isinstance(block, Paragraph)]
    assert said == ["No recipe.yaml that can be read: A, B."]


def test_runs_of_different_tasks_have_the_metrics_of_all(
    leave: Leave, recording: Callable[..., list[Record]], make_end: Callable[..., EndRecord]
) -> None:
    text = [*recording(200), make_end(200)]
    images = others(recording(200), metrics={"loss": 0.31, "accuracy": 0.912})
    runs = [run(leave("text", text)), run(leave("images", images))]
    shown = table(runs, "status")
    assert shown["status"] == ("finished", "no end")
    assert shown["validation loss"] == ("3.5212", "0.3100")
    assert shown["validation perplexity"] == ("33.82", "-")
    assert shown["validation accuracy"] == ("-", "0.9120")
    assert shown["best validation"][1] == "0.3100\nstep 100"
    assert shown["MFU"] == ("41.2 %", "-")


def test_rates_of_a_killed_run_leave_its_warm_up_out(
    leave: Leave, recording: Callable[..., list[Record]], make_step: Callable[..., StepRecord]
) -> None:
    steps = [
        dataclasses.replace(make_step(10 * index), tokens_per_second=value, seconds=seconds(value))
        for index, value in enumerate((1.0, 100.0, 500.0, 300.0), start=1)
    ]
    history = run(leave("a", [*recording(0), *steps])).history
    assert rate(history, "tokens_per_second") == 300.0
    assert split(history)["step"] == pytest.approx(300.0)
    assert split(history)["forward"] == pytest.approx(300.0)


def seconds(step: float) -> dict[str, float]:
    parts = ("data", "backward", "communication", "imbalance", "optimizer", "other")
    return {"step": step, "forward": step} | dict.fromkeys(parts, 0.0)


def test_the_parts_of_each_run_sum_to_its_step(leave: Leave, recording: Callable[..., list[Record]]) -> None:
    shown = table([run(leave("a", recording(100))), run(leave("b", recording(50)))], "backward")
    names = [name for name in shown if name not in ("run", "step")]
    for index in range(2):
        assert round(sum(float(shown[name][index]) for name in names), 6) == float(shown["step"][index]) == 629.0


def test_a_run_that_changed_its_size_names_them_all(
    leave: Leave, recording: Callable[..., list[Record]], make_step: Callable[..., StepRecord]
) -> None:
    steps = [make_step(10, 2), make_step(20, 2), make_step(30, 3), make_step(40, 2)]
    assert workers(run(leave("a", [*recording(0), *steps])).history) == "2, then 3, then 2"


def test_the_clock_of_a_resumed_run_goes_on(make_step: Callable[..., StepRecord]) -> None:
    elapsed = (5.0, 10.0, 3.0, 6.0, 1.0)
    steps = [dataclasses.replace(make_step(index), elapsed=value) for index, value in enumerate(elapsed)]
    assert clock(steps) == [5.0, 10.0, 13.0, 16.0, 17.0]


@pytest.mark.parametrize(("elapsed", "unit", "at"), [(90.0, "seconds", 90.0), (600.0, "minutes", 10.0)])
def test_losses_over_time_are_in_a_unit_that_suits_it(
    elapsed: float,
    unit: str,
    at: float,
    leave: Leave,
    recording: Callable[..., list[Record]],
    make_step: Callable[..., StepRecord],
) -> None:
    steps = [dataclasses.replace(make_step(index), elapsed=index * elapsed / 4) for index in range(1, 5)]
    axes = Figure().subplots()
    comparison_panels([run(leave("a", [*recording(0), *steps]))])[1].draw(axes)
    assert axes.get_xlabel() == f"time trained ({unit})"
    assert list(axes.get_lines()[0].get_xdata())[-1] == pytest.approx(at)


def test_runs_of_one_name_are_told_apart(leave: Leave, recording: Callable[..., list[Record]]) -> None:
    runs = [run(leave("a", recording(100))), run(leave("b", recording(50)))]
    axes = Figure().subplots()
    comparison_panels(runs)[0].draw(axes)
    assert [line.get_label() for line in axes.get_lines()] == ["A: gpt-shakespeare", "B: gpt-shakespeare"]
    assert [len(line.get_xdata()) for line in axes.get_lines()] == [10, 5]
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}
    assert len(looks) == 2
    first = table(runs, "directory")
    assert first["directory"] == tuple(str(one.directory) for one in runs)


def test_there_is_a_panel_for_each_metric(leave: Leave, recording: Callable[..., list[Record]]) -> None:
    images = others(recording(100), metrics={"loss": 0.31, "accuracy": 0.912})
    panels = comparison_panels([run(leave("a", recording(100))), run(leave("b", images))])
    names = [panel.name.split(",")[0] for panel in panels]
    assert names[2:6] == [f"Validation {name}" for name in ("loss", "perplexity", "bits/byte", "accuracy")]
    axes = Figure().subplots()
    panels[5].draw(axes)
    assert [list(line.get_ydata()) for line in axes.get_lines()] == [[0.912]]


def test_letters_go_on_after_z() -> None:
    assert letters(28)[:2] == ["A", "B"]
    assert letters(28)[25:] == ["Z", "AA", "AB"]
    assert len(set(letters(800))) == 800


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("count", [2, 9])
def test_the_console_fits_however_many_runs_there_are(
    width: int, count: int, leave: Leave, recording: Callable[..., list[Record]]
) -> None:
    runs = [run(leave(f"r{index}", recording(100), lr=f"{index + 1}e-4")) for index in range(count)]
    text = printed(runs, width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    flat = " ".join(text.split())
    assert all(f"0.000{index + 1}" in flat for index in range(count))
    assert flat.count("629.0") == count


def test_the_comparison_leaves_its_files_and_no_name_acts(
    tmp_path: Path, leave: Leave, recording: Callable[..., list[Record]]
) -> None:
    records = recording(100)
    start = records[0]
    assert isinstance(start, StartRecord)
    name = "_<script>alert(1)</script> $x_$ \x1b[2J 中"
    hostile = [dataclasses.replace(start, name=name), *records[1:]]
    paths = [leave("a", hostile, recipe='k: "<script>alert(2)</script>"'), leave("b", recording(0))]
    assert write_comparison(tmp_path / "out", [run(path) for path in paths]) == []
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["report.html", "report.json", "report.md", "report.png"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3  # its row, and the legends
    assert "\x1b" not in page
    values = json.loads((tmp_path / "out" / "report.json").read_text())
    assert sorted(values["runs"]) == ["A", "B"]
    assert values["differences"]["seed"] == {"A": "-", "B": "1"}


def test_a_directory_that_can_not_be_written_is_one_clear_error(
    tmp_path: Path, leave: Leave, recording: Callable[..., list[Record]]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another --output"):
        write_comparison(tmp_path / "file" / "out", [run(leave("a", recording(10)))] * 2)
