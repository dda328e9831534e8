from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from hvdtrain.metrics.records import EndRecord, Record, SampleRecord, StartRecord, StepRecord
from hvdtrain.report.console import can_be_live, make_reporter, make_view
from hvdtrain.report.events import EventWriter
from hvdtrain.report.history import History
from hvdtrain.report.live import LiveReporter, View
from hvdtrain.report.plain import PlainReporter
from hvdtrain.report.summary import plain_summary, rich_summary, sections


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def history_of(records: list[Record]) -> History:
    history = History()
    for record in records:
        history(record)
    return history


def drawn(history: History, width: int, height: int = 40) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, color_system=None)
    times = iter([0.0, 215.0])
    picture = View(lambda: next(times))
    picture.history = history
    picture._last = 214.0
    lines = console.render_lines(picture, console.options, pad=False)
    return ["".join(segment.text for segment in line) for line in lines]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_the_live_view_fills_its_width_exactly(width: int, recording: Callable[..., list[Record]]) -> None:
    lines = drawn(history_of(recording(330)), width)
    assert {len(line) for line in lines} == {width}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_live_view_says_what_there_is(width: int, recording: Callable[..., list[Record]]) -> None:
    text = " ".join("\n".join(drawn(history_of(recording(330)), width)).replace("│", " ").split())
    for fact in ("gpt-shakespeare", "2 workers", "CPU", "fp32", "step 330/500", "66 %", "3:35 gone", "1:50 left"):
        assert fact in text
    for fact in ("6,512", "3,256", "4.50e-04", "629 ms", "1.21 GB", "data 0 %", "compute 86 %", "communication 10 %"):
        assert fact in text
    assert "perplexity 36.96" in text
    assert "The [bold]duke[/bold] is come" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_bar_of_a_steps_time_is_in_proportion(width: int, recording: Callable[..., list[Record]]) -> None:
    (bar,) = (line for line in drawn(history_of(recording(330)), width) if "time of a step" in line)
    length = width - 4 - 16
    assert abs(bar.count("█") - 0.863 * length) <= 1
    assert abs(bar.count("▓") - 0.097 * length) <= 1
    assert sum(bar.count(shade) for shade in "█▓▒░") == length


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 26), (80, 19), (120, 50)])
def test_the_live_view_leaves_a_line_of_the_terminal_free(
    width: int, height: int, recording: Callable[..., list[Record]]
) -> None:
    lines = drawn(history_of(recording(330)), width, height)
    assert len(lines) < height
    assert any("KING" in line for line in lines) == (height > 19)


@pytest.mark.parametrize("count", range(8))
def test_the_live_view_can_be_drawn_at_any_moment(count: int, recording: Callable[..., list[Record]]) -> None:
    assert drawn(history_of(recording(100)[:count]), 80)


def test_missing_values_are_dashes(make_step: Callable[..., StepRecord]) -> None:
    bare = StepRecord(
        step=1, loss=float("nan"), lr=0.0, grad_norm=float("inf"), samples=0, tokens=0, samples_per_second=0.0,
        tokens_per_second=float("nan"), world_size=1, seconds={},
    )  # fmt: skip
    text = "\n".join(drawn(history_of([bare]), 80))
    assert "nan" in text
    assert "communication" not in text


def run_live(records: list[Record], width: int = 80) -> str:
    stream = Terminal()
    reporter = LiveReporter(Console(file=stream, width=width, height=40, force_terminal=True, _environ={}))
    for record in records:
        reporter(record)
    reporter.message("from a \x1b[31mworker\x07 [bold]", rank=1)
    reporter.close()
    return stream.getvalue()


def test_the_live_view_gives_the_cursor_back_and_ends_with_the_summary(
    recording: Callable[..., list[Record]], make_end: Callable[..., EndRecord]
) -> None:
    output = run_live([*recording(100), make_end()])
    assert output.rfind("\x1b[?25h") > output.rfind("\x1b[?25l") >= 0
    assert "bus bandwidth" in output[output.rfind("\x1b[?25h") :]


def test_the_view_says_what_is_going_on_until_the_run_begins(recording: Callable[..., list[Record]]) -> None:
    stream = Terminal()
    reporter = LiveReporter(Console(file=stream, width=80, height=40, force_terminal=True, _environ={}))
    reporter.notice("starting 2 workers")
    before = len(stream.getvalue())
    assert "starting 2 workers" in stream.getvalue()
    for record in recording(10):
        reporter(record)
    reporter.close()
    assert "starting 2 workers" not in stream.getvalue()[before:]


def test_a_run_that_breaks_off_leaves_its_last_view(recording: Callable[..., list[Record]]) -> None:
    output = run_live(recording(100))
    assert output.rfind("\x1b[?25h") > output.rfind("\x1b[?25l") >= 0
    assert "step 100/500" in output[output.rfind("worker 1 | ") :]


def test_messages_are_shown_with_their_rank_and_can_not_drive_the_terminal(
    recording: Callable[..., list[Record]],
) -> None:
    output = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", run_live(recording(10)))
    assert "worker 1 | from a worker [bold]" in output
    assert "\x07" not in output


def run_plain(records: list[Record], encoding: str = "ascii") -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    reporter = PlainReporter(stream)
    for record in records:
        reporter(record)
    reporter.close()
    return raw.getvalue().decode(encoding)


def test_plain_lines_align(recording: Callable[..., list[Record]]) -> None:
    lines = run_plain(recording(300)).splitlines()
    header = next(line for line in lines if "tokens/s" in line)
    rows = [line for line in lines if re.match(r" +\d+/500 ", line)]
    assert len(rows) == 30
    assert {len(row) for row in rows} == {len(header)}
    assert max(len(line) for line in rows) <= 100
    assert sum("tokens/s" in line for line in lines) == 2, "the header comes again when it has scrolled away"


def test_plain_lines_tell_of_everything(
    recording: Callable[..., list[Record]], make_end: Callable[..., EndRecord]
) -> None:
    text = run_plain([*recording(100), make_end()])
    assert "2 workers, CPU, 1 thread a worker, fp32 (the CPU has no AMX" in text
    assert "validation at step 100: loss 4.867, perplexity 130.0, bits/byte 2.562 (746 samples in 4.2 s)" in text
    assert "  | KING RICHARD:" in text
    assert "checkpoint at step 100: runs/gpt-shakespeare/checkpoints/step-100 (63 MB in 410 ms)" in text
    assert "bus bandwidth" in text
    assert "\r" not in text
    assert "\x1b" not in text


def test_a_sample_that_the_encoding_lacks_does_not_stop_the_run() -> None:
    assert "caf?" in run_plain([SampleRecord(step=1, prompt="", text="café")])


def test_the_summary_gives_every_figure(
    recording: Callable[..., list[Record]], make_end: Callable[..., EndRecord]
) -> None:
    text = plain_summary(history_of([*recording(500), make_end()]))
    facts = {line.split("  ")[1].strip(): line for line in text.splitlines() if line.startswith("  ")}
    assert "3.5212" in facts["validation"]
    assert "best 3.5" in facts["validation"] or "step 500" in facts["validation"]
    assert "1.853" in facts["bits/byte"]
    assert "33.82" in facts["perplexity"]
    assert "2.713 below" in facts["unigram baseline"]
    assert "6,500 tokens/s" in facts["all workers"]
    assert "3,250 tokens/s" in facts["a worker"]
    assert "9.7 %" in facts["communication"]
    assert "41.2 %" in facts["MFU"]
    assert "measured fp32 matrix product" in facts["MFU"]
    assert "21 MB a step" in facts["handed over"]
    assert "1.11 GB/s" in facts["bus bandwidth"]
    assert "step-500" in facts["checkpoint"]


def test_a_loss_above_the_unigram_baseline_is_called_that(
    recording: Callable[..., list[Record]], make_end: Callable[..., EndRecord]
) -> None:
    import dataclasses

    bad = dataclasses.replace(make_end(), metrics={"loss": 7.0})
    assert "0.7655 above" in plain_summary(history_of([*recording(10), bad]))


def test_one_process_has_no_communication_section(
    recording: Callable[..., list[Record]], make_end: Callable[..., EndRecord]
) -> None:
    titles = [section.title for section in sections(history_of([*recording(10, workers=1), make_end(workers=1)]))]
    assert "Communication" not in titles
    assert "Hardware" in titles


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_summary_table_keeps_to_the_width(
    width: int, recording: Callable[..., list[Record]], make_end: Callable[..., EndRecord]
) -> None:
    console = Console(width=width, file=io.StringIO())
    lines = console.render_lines(rich_summary(history_of([*recording(100), make_end()])), pad=False)
    assert max(sum(segment.cell_length for segment in line) for line in lines) <= width


def test_a_bare_end_can_be_summarised() -> None:
    assert "failed" in plain_summary(history_of([EndRecord(step=0, reason="failed")]))
    assert plain_summary(History())


@pytest.mark.parametrize(
    ("environment", "live"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"TERM": "xterm", "CI": "true"}, False)],
)
def test_the_terminal_decides_the_view(environment: dict[str, str], live: bool) -> None:
    assert can_be_live(Terminal(), environment) is live
    assert isinstance(make_view(stream=Terminal(), environment=environment), LiveReporter) is live


def test_plain_is_taken_where_it_is_asked_for_or_nothing_else_works() -> None:
    latin = Terminal()
    latin.encoding = "iso-8859-1"
    assert isinstance(make_view(stream=latin, environment={"TERM": "xterm"}), PlainReporter)
    assert isinstance(make_view(plain=True, stream=Terminal(), environment={"TERM": "xterm"}), PlainReporter)
    assert isinstance(make_view(stream=io.StringIO(), environment={"TERM": "xterm"}), PlainReporter)


def test_a_launcher_gets_events_even_from_a_terminal() -> None:
    assert isinstance(make_reporter(stream=Terminal(), environment={"HVDTRAIN_EVENTS": "1"}), EventWriter)


def test_no_color_means_no_colour(recording: Callable[..., list[Record]]) -> None:
    stream = Terminal()
    reporter = LiveReporter(Console(file=stream, width=80, force_terminal=True, _environ={"NO_COLOR": "1"}))
    for record in recording(20):
        reporter(record)
    reporter.close()
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", stream.getvalue())


def test_a_resumed_run_says_from_where(recording: Callable[..., list[Record]]) -> None:
    import dataclasses

    start = recording(0)[0]
    assert isinstance(start, StartRecord)
    text = run_plain([dataclasses.replace(start, step=100, resumed_from="runs/x/checkpoints/step-100", hosts=2)])
    assert "resumed at step 100 from runs/x/checkpoints/step-100" in text
    assert "2 workers on 2 hosts" in text
