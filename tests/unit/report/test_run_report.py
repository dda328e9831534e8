from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from hvdtrain.metrics.records import PHASES, EndRecord, Record, SampleRecord, StartRecord
from hvdtrain.report import drawing, run_report
from hvdtrain.report.drawing import PHASE_COLOURS, Panel
from hvdtrain.report.files import FileReporter
from hvdtrain.report.history import History
from hvdtrain.report.run_plots import draw_loss, draw_parts, draw_throughput
from hvdtrain.report.run_report import write_reports

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)> $x_$ --> ]]>'


class Page(HTMLParser):
    """What a browser would find in a page: its elements, what they refer to, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def history_of(records: list[Record]) -> History:
    history = History()
    for record in records:
        history(record)
    return history


def axes_of(draw: Callable[..., None], *arguments: object) -> object:
    axes = Figure().subplots()
    draw(axes, *arguments)
    return axes


def assert_png(path: Path) -> None:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(data) > 20_000


def test_a_run_gets_four_files(tmp_path: Path, recording: Callable[..., list[Record]]) -> None:
    assert write_reports(tmp_path, history_of(recording(200))) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
        "report.png",
    ]
    assert_png(tmp_path / "report.png")
    assert "](report.png)" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("ended", [True, False])
def test_training_ends_with_all_of_them_also_where_it_failed(
    ended: bool, tmp_path: Path, recording: Callable[..., list[Record]], make_end: Callable[..., EndRecord]
) -> None:
    reporter = FileReporter(tmp_path, recipe_yaml="")
    for record in [*recording(200), *([make_end()] if ended else [])]:
        reporter(record)
    reporter.close()
    assert_png(tmp_path / "report.png")
    assert len(Page((tmp_path / "report.html").read_text()).tags) > 100
    assert json.loads((tmp_path / "report.json").read_text())["status"] == ("finished" if ended else "failed")


def test_without_plots_there_are_words_only_and_no_picture_of_an_earlier_run(
    tmp_path: Path, recording: Callable[..., list[Record]], make_end: Callable[..., EndRecord]
) -> None:
    (tmp_path / "report.png").write_bytes(b"of an earlier run")
    notes: list[str] = []
    reporter = FileReporter(tmp_path, recipe_yaml="", note=notes.append, plots=False)
    for record in [*recording(200), make_end()]:
        reporter(record)
    reporter.close()
    page = Page((tmp_path / "report.html").read_text())
    assert notes == []
    assert not (tmp_path / "report.png").exists()
    assert not {"svg", "img"} & set(page.tags)
    assert "train.plots is false; `hvdtrain report`" in "".join(page.words)
    assert "report.png" not in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("steps", [0, 10, 20, 500])
def test_a_run_of_any_length_can_be_drawn(steps: int, tmp_path: Path, recording: Callable[..., list[Record]]) -> None:
    assert write_reports(tmp_path, history_of(recording(steps))) == []


def test_losses_that_are_not_finite_can_be_drawn(tmp_path: Path, make_step: Callable[..., Record]) -> None:
    losses = [3.0, float("nan"), float("inf"), 2.0]
    history = history_of([make_step(step, loss=loss) for step, loss in enumerate(losses, start=1)])
    assert write_reports(tmp_path, history) == []


def test_a_drawing_that_fails_costs_neither_the_run_nor_its_other_files(
    tmp_path: Path,
    recording: Callable[..., list[Record]],
    make_end: Callable[..., EndRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(drawing, "figure", broken)
    (tmp_path / "report.png").write_bytes(b"of an earlier run")
    notes: list[str] = []
    reporter = FileReporter(tmp_path, recipe_yaml="", note=notes.append)
    for record in [*recording(50), make_end()]:
        reporter(record)
    reporter.close()
    assert len(notes) == 1
    assert "no fonts" in notes[0]
    assert not (tmp_path / "report.png").exists()
    assert "no fonts" in (tmp_path / "report.html").read_text()
    assert "report.png" not in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["status"] == "finished"


def test_a_page_that_can_not_be_written_is_a_note(
    tmp_path: Path, recording: Callable[..., list[Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run_report.write_whole

    def full(path: Path, content: str | bytes) -> None:
        if path.suffix in (".html", ".png"):
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(run_report, "write_whole", full)
    (note,) = write_reports(tmp_path, history_of(recording(20)))
    assert "No space left" in note
    assert (tmp_path / "report.md").exists()


def test_the_page_needs_nothing_and_runs_nothing(tmp_path: Path, recording: Callable[..., list[Record]]) -> None:
    records = recording(200)
    start = records[0]
    assert isinstance(start, StartRecord)
    hostile = dataclasses.replace(start, name=HOSTILE, output_dir=HOSTILE, device=HOSTILE, notes=(HOSTILE,))
    sample = SampleRecord(step=200, prompt=HOSTILE, text=f"</pre>{HOSTILE}\x1b[2J")
    write_reports(tmp_path, history_of([hostile, *records[1:], sample]))
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert not {"script", "img", "link", "iframe", "object"} & set(page.tags)
    assert page.handlers == []
    assert all(reference.startswith("#") for reference in page.references)
    outside = {found for found in re.findall(r"https?://[^\s\"'<]+", text) if "www.w3.org" not in found}
    assert outside == set()  # names of XML namespaces, which nobody fetches
    assert "\x1b" not in text
    assert "".join(page.words).count("<script>alert(1)</script>") >= 5
    assert page.tags.count("svg") == 4


def test_the_page_takes_its_colour_of_text_into_the_drawings(
    tmp_path: Path, recording: Callable[..., list[Record]]
) -> None:
    write_reports(tmp_path, history_of(recording(100)))
    text = (tmp_path / "report.html").read_text()
    body = text[text.index("<body>") :]
    assert "currentColor" in body
    assert "#1f2328" not in body.lower()
    identities = re.findall(r' id="([^"]+)"', body)
    assert len(identities) == len(set(identities))
    for reference in re.findall(r"(?:url\(|href=\")#([^\")]+)", body):
        assert reference in identities
    assert "prefers-color-scheme: dark" in text


def test_the_curves_are_the_records(recording: Callable[..., list[Record]]) -> None:
    records = recording(300)
    history = history_of(records)
    axes = axes_of(draw_loss, history)
    lines = {line.get_label(): line for line in axes.get_lines()}
    steps = [record for record in records if record.event == "step"]
    evals = [record for record in records if record.event == "eval"]
    assert list(lines["training"].get_xdata()) == [record.step for record in steps]
    assert list(lines["training"].get_ydata()) == [record.loss for record in steps]
    assert list(lines["validation"].get_xdata()) == [100, 200, 300]
    assert list(lines["validation"].get_ydata()) == [record.metrics["loss"] for record in evals]
    assert set(lines["unigram baseline 6.23"].get_ydata()) == {6.2345}
    assert axes.get_xlabel() == "step"
    assert "nats" in axes.get_ylabel()


def test_throughput_is_drawn_in_samples_where_there_are_no_tokens(make_step: Callable[..., Record]) -> None:
    steps = [dataclasses.replace(make_step(step), tokens_per_second=0.0) for step in (10, 20)]
    axes = axes_of(draw_throughput, history_of(steps))
    assert axes.get_ylabel() == "samples/s"
    assert list(axes.get_lines()[0].get_ydata()) == [50.9, 50.9]


def test_the_parts_of_a_step_are_stacked_to_the_step(recording: Callable[..., list[Record]]) -> None:
    axes = axes_of(draw_parts, history_of(recording(100)))
    top = max(vertex[1] for area in axes.collections for path in area.get_paths() for vertex in path.vertices)
    assert top == pytest.approx(629.0)
    assert [area.get_label() for area in axes.collections] == list(PHASES)
    assert "ms" in axes.get_ylabel()
    short = axes_of(draw_parts, history_of(recording(20)))
    assert sum(bar.get_width() for bar in short.patches) == pytest.approx(629.0)


def test_each_part_of_a_step_has_a_colour_of_its_own() -> None:
    assert tuple(PHASE_COLOURS) == PHASES
    assert len(set(PHASE_COLOURS.values())) == len(PHASES)


def test_panels_of_a_row_never_overlap_a_wide_one() -> None:
    panels = [Panel(str(index), lambda axes: None, wide=index in (0, 3)) for index in range(5)]
    made = drawing.figure(panels, columns=2)
    places = [(a.get_subplotspec().rowspan.start, tuple(a.get_subplotspec().colspan)) for a in made.axes]
    assert places == [(0, (0, 1)), (1, (0,)), (1, (1,)), (2, (0, 1)), (3, (0,))]


def test_names_are_drawn_as_they_are() -> None:
    panel = Panel("x", lambda axes: axes.set_title("$x_$ 中 <b>"))  # no formula, and not in the font
    assert drawing.png(drawing.figure([panel])).startswith(b"\x89PNG")
    assert "$x_$ 中 &lt;b&gt;" in drawing.svg(panel)


def test_thinning_keeps_both_ends() -> None:
    assert drawing.thin(list(range(10)), 4) == [0, 3, 6, 9]
    assert drawing.thin([1, 2], 4) == [1, 2]


def test_drawing_never_touches_pyplot_and_leaves_settings_alone() -> None:
    code = (
        "import sys, matplotlib; matplotlib.rcParams['font.size'] = 33;"
        "from hvdtrain.report import drawing;"
        "drawing.png(drawing.figure([drawing.Panel('x', lambda axes: None)]));"
        "drawing.svg(drawing.Panel('x', lambda axes: None));"
        "print('matplotlib.pyplot' in sys.modules, matplotlib.rcParams['font.size'])"
    )
    shown = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "33.0"]


def test_reports_are_imported_without_matplotlib() -> None:
    code = (
        "import sys, hvdtrain.report.files, hvdtrain.report.study, hvdtrain.report.comparison_plots, "
        "hvdtrain.report.study_plots; print('matplotlib' in sys.modules, 'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]
