from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from hvdtrain.errors import UserError
from hvdtrain.metrics.records import PHASES
from hvdtrain.metrics.study import Diagnosis, Interval, SizeResult, Study
from hvdtrain.report import drawing
from hvdtrain.report.document import Table
from hvdtrain.report.study import read_study, study_console, study_figure, study_html, study_markdown, write_study
from hvdtrain.report.study_document import study_document
from hvdtrain.report.study_plots import draw_efficiency, draw_steps, draw_throughput
from hvdtrain.report.study_tables import communication_table, rounded_parts, scaling_table, split_table

HOSTILE = "<script>alert(1)</script> $x_$ [bold]b[/bold] a|b\x1b[2J"


def printed(study: Study, width: int) -> str:
    terminal = Console(width=width, file=io.StringIO(), color_system=None)
    terminal.print(study_console(study, width))
    return terminal.file.getvalue()  # type: ignore[attr-defined]


def squeezed(text: str) -> str:
    return " ".join(text.split())


def tables(study: Study) -> list[Table]:
    return [block for block in study_document(study) if isinstance(block, Table) and block.columns[0] == "workers"]


def test_a_study_comes_back_as_it_was_written(tmp_path: Path, study: Callable[..., Study]) -> None:
    written = study(peak_flops=float("inf"))
    assert write_study(tmp_path / "deep" / "sweep", written) == []
    assert read_study(tmp_path / "deep" / "sweep") == written
    names = sorted(path.name for path in (tmp_path / "deep" / "sweep").iterdir())
    assert names == ["report.html", "report.json", "report.md", "report.png"]
    data = (tmp_path / "deep" / "sweep" / "report.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(data) > 50_000


def test_what_is_no_study_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"can't read .*report\.json"):
        read_study(tmp_path)
    for text in ("{", "[]", '{"status": "finished"}', "\xff"):
        (tmp_path / "report.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(UserError, match="is not the report of a sweep"):
            read_study(tmp_path)


def test_a_directory_that_can_not_be_written_is_one_clear_error(tmp_path: Path, study: Callable[..., Study]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't write the report"):
        write_study(tmp_path / "file" / "sweep", study())


def test_a_drawing_that_fails_leaves_the_figures(
    tmp_path: Path, study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(drawing, "figure", broken)
    (note,) = write_study(tmp_path, study())
    assert "no fonts" in note
    assert read_study(tmp_path) == study()
    assert "1,861 n /" in (tmp_path / "report.html").read_text()
    assert "report.png" not in (tmp_path / "report.md").read_text()


def test_the_parts_that_are_shown_sum_to_the_step_that_is_shown(size: Callable[..., SizeResult]) -> None:
    sizes = [size(n) for n in (1, 2, 3, 4, 7)]
    table = split_table(sizes)
    for row in table.rows:
        values = {name: cell.replace(",", "") for name, cell in zip(table.columns, row, strict=True)}
        parts = sum(round(10 * float(values[name])) for name in PHASES)
        assert parts == round(10 * float(values["step"]))
    assert [row[table.columns.index("step")] for row in table.rows[:2]] == ["550.4", "648.4"]


@pytest.mark.parametrize("digits", [0, 1, 2, 3])
def test_rounding_moves_no_part_by_more_than_a_unit(digits: int) -> None:
    split = dict.fromkeys(PHASES, 0.1 / 7) | {"other": -0.0000333}
    split["step"] = sum(split.values())
    parts = rounded_parts(split, digits)
    assert round(sum(parts[name] for name in PHASES), 9) == parts["step"] == round(1e3 * split["step"], digits)
    assert all(abs(parts[name] - 1e3 * split[name]) < 10**-digits for name in PHASES)


def test_the_first_table_has_the_figures_as_they_are_defined(size: Callable[..., SizeResult]) -> None:
    table = scaling_table([size(1), size(2)])
    two = dict(zip(table.columns, table.rows[1], strict=True))
    step, one = 0.64843, 0.5501
    rate = 2 * 1024 / step
    assert two["tokens/s"].split("\n")[0] == f"{rate:,.0f}"
    assert two["tokens/s"].split("\n")[1] == f"{0.98 * rate:,.0f} to {1.02 * rate:,.0f}"
    speedup = rate / (1024 / one)
    assert two["speedup"].split("\n")[0] == f"{speedup:.2f}"
    assert two["efficiency"] == f"{50 * speedup:.1f} %\n{49 * speedup:.1f} to {51 * speedup:.1f} %"
    assert two["sync tax"] == f"{100 * (step / (one + 0.03) - 1):.1f} %"
    assert two["contention"] == "30.0 ms"
    assert two["Karp-Flatt"] == f"{(1 / speedup - 0.5) / 0.5:.3f}"
    assert two["MFU"] == "41.0 %"


@pytest.mark.parametrize(
    ("launches", "said"),
    [
        ((5, 5), "a 95 % bootstrap interval over 5 launches."),
        ((3, 3), "the range over 3 launches (a confidence interval takes five)."),
        ((1, 1), "of a single launch, where nothing stands beneath, no spread is known."),
        ((5, 3), "a 95 % bootstrap interval over 5 launches; the range over 3 launches (a confidence interval"),
    ],
)
def test_an_interval_is_called_what_it_is(
    launches: tuple[int, int], said: str, size: Callable[..., SizeResult]
) -> None:
    table = scaling_table([size(1, launches=launches[0]), size(2, launches=launches[1])])
    assert said in " ".join(table.notes)
    assert ("\n" in table.rows[1][1]) == (launches[1] > 1)


def test_throughput_is_in_samples_where_a_task_has_no_tokens(size: Callable[..., SizeResult]) -> None:
    none = Interval(median=0.0, low=0.0, high=0.0, launches=5, kind="95 % bootstrap interval")
    sizes = [size(n, tokens_per_second=none) for n in (1, 2)]
    table = scaling_table(sizes)
    assert table.columns[1] == "samples/s"
    assert table.rows[0][1].startswith("14.5")


def test_oversubscribed_sizes_are_marked_in_every_table(study: Callable[..., Study]) -> None:
    found = tables(study())
    assert len(found) == 6
    for table in found:
        marked = [row[0] for row in table.rows if row[0].endswith("*")]
        assert marked == ["4*"]
        assert any(note.startswith("* oversubscribed") and "4 threads share 2 cores" in note for note in table.notes)
    for table in tables(study(sizes=study().sizes[:2])):
        assert not any("oversubscribed" in note for note in table.notes)


def test_hosts_are_named_where_there_are_several(size: Callable[..., SizeResult]) -> None:
    assert scaling_table([size(1), size(4, hosts=2)]).rows[1][0] == "4\non 2 hosts"


def test_bandwidths_are_beside_each_other(size: Callable[..., SizeResult]) -> None:
    four = size(4, bus_bandwidth=416e6, link_bandwidth=524e6)
    table = communication_table([size(1), four])
    assert table is not None
    assert table.rows == (("4", "21 MB", "76", "75.6 ms", "416 MB/s", "524 MB/s", "79 %"),)
    assert communication_table([size(1)]) is None


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_console_says_all_within_its_width(width: int, study: Callable[..., Study]) -> None:
    text = printed(study(), width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    flat = squeezed(text)
    for fact in (
        "Weak scaling: Most of the loss is exposed communication.",
        "1. The cycle time is too short: 120 ms, 14.6 % of the step",
        "- the engine takes 12 % of a core",
        "sync.cycle_time_ms=20",
        "Gain: about 100 ms a step",
        "2. Shared memory: 90.0 ms, 11.0 % of the step",
        "X(n) = 1,861 n / (1 + 0.05 (n - 1) + 0.001 n (n - 1))",
        "highest at 28 workers",
        "weak, 8 workers: worker 3: out of memory",
        "three sizes are too few for a fit",
        "One worker with all cores (2 threads): 3,400 tokens/s",
        "4 workers, does 1.49 times that",
        "cycle 20 ms (auto)",
        "sync tax: T(n synchronised) / T(n not synchronised) - 1",
    ):
        assert fact in flat


def test_markdown_and_html_say_the_same(study: Callable[..., Study]) -> None:
    text = study_markdown(study())
    page = study_html(study())
    for fact in ("The cycle time is too short: 120 ms, 14.6 % of the step", "about 100 ms a step", "out of memory"):
        assert fact in text
        assert fact in page
    assert "\n    sync.cycle_time_ms=20" in text
    assert "<pre><code>sync.cycle_time_ms=20</code></pre>" in page
    assert page.count("<svg") == 6
    assert page.count('<div class="panels of-3">') == 2


def test_a_healthy_study_says_so_and_has_no_findings(study: Callable[..., Study]) -> None:
    text = study_markdown(study(diagnoses=(Diagnosis(mode="weak", workers=2, verdict="Nothing is worth changing."),)))
    assert text.count("**Nothing is worth changing.**") == 1
    assert "Change:" not in text


def test_what_a_study_is_called_can_not_act(study: Callable[..., Study]) -> None:
    hostile = study(name=HOSTILE, recipe=HOSTILE, command=HOSTILE, notes=(HOSTILE,), device=HOSTILE)
    page, text, shown = study_html(hostile), study_markdown(hostile), printed(hostile, 80)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert "<script>" not in text.replace("    <script>", "")  # a code block shows it as it is
    assert "[bold]b[/bold]" in squeezed(shown)
    assert "\x1b" not in page + text + shown


@pytest.mark.parametrize("count", range(3))
def test_a_study_with_little_in_it_has_its_report(count: int, tmp_path: Path, study: Callable[..., Study]) -> None:
    little = study(sizes=study().sizes[1 : 1 + count], all_cores=None, diagnoses=(), laws=(), failures=(), notes=())
    assert write_study(tmp_path, little) == []
    assert printed(little, 80)


def test_throughput_is_drawn_with_its_spread_and_the_ideal(study: Callable[..., Study]) -> None:
    axes = Figure().subplots()
    whole = study()
    draw_throughput(axes, whole, whole.of("weak"))
    lines = {line.get_label(): line for line in axes.get_lines()}
    one = whole.of("weak")[0].tokens_per_second.median
    assert list(lines["ideal: n X(1)"].get_ydata()) == pytest.approx([one, 2 * one, 4 * one])
    medians = [size.tokens_per_second.median for size in whole.of("weak")]
    assert list(lines["measured"].get_ydata()) == medians
    assert set(lines["one worker, all cores"].get_ydata()) == {3400.0}
    assert "tokens/s" in axes.get_ylabel()
    assert axes.get_xlabel() == "workers"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "4"]


def test_efficiency_is_drawn_in_percent_with_its_interval(study: Callable[..., Study]) -> None:
    axes = Figure().subplots()
    sizes = study().of("weak")
    draw_efficiency(axes, sizes)
    lines = {line.get_label(): line for line in axes.get_lines()}
    values = [size.efficiency for size in sizes]
    assert list(lines["measured"].get_ydata()) == pytest.approx([100 * value.median for value in values])
    bars = [segment for container in axes.containers for segment in container[2][0].get_segments()]
    ends = sorted((float(low), float(high)) for (_, low), (_, high) in bars)
    expected = sorted((100 * value.low, 100 * value.high) for value in values)
    assert [end for pair in ends for end in pair] == pytest.approx([end for pair in expected for end in pair])
    hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[4]]


def test_no_ideal_and_no_efficiency_without_one_worker(
    study: Callable[..., Study], size: Callable[..., SizeResult]
) -> None:
    sizes = [size(n, efficiency=None, speedup=None) for n in (2, 4)]
    left, right = Figure().subplots(1, 2)
    draw_throughput(left, study(sizes=tuple(sizes)), sizes)
    draw_efficiency(right, sizes)
    assert "ideal: n X(1)" not in [line.get_label() for line in left.get_lines()]
    assert [text.get_text() for text in right.texts] == ["no efficiency without the size 1"]


def test_the_bars_are_the_parts_and_as_high_as_the_step(study: Callable[..., Study]) -> None:
    axes = Figure().subplots()
    sizes = study().of("weak")
    draw_steps(axes, sizes)
    for phase, bars in zip(PHASES, axes.containers, strict=True):
        assert bars.get_label() == phase
        assert [bar.get_height() for bar in bars] == pytest.approx([1e3 * size.split[phase] for size in sizes])
    tops = [max(bar.get_y() + bar.get_height() for bar in bars) for bars in zip(*axes.containers, strict=True)]
    assert tops == pytest.approx([1e3 * size.split["step"] for size in sizes])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "4*"]


def test_each_mode_has_its_row_of_plots(study: Callable[..., Study]) -> None:
    rows = [axes.get_subplotspec().rowspan.start for axes in study_figure(study()).axes]
    assert rows == [0, 0, 0, 1, 1, 1]


def test_many_sizes_are_drawn_by_factors(study: Callable[..., Study], size: Callable[..., SizeResult]) -> None:
    figure = study_figure(study(sizes=tuple(size(n) for n in (1, 2, 4, 8, 16, 32, 64))))
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1", "2", "4", "8", "16", "32", "64"]
