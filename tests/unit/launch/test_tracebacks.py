from __future__ import annotations

from hvdtrain.launch.tracebacks import Tracebacks
from hvdtrain.report.events import Line

TEXT = ["Traceback (most recent call last):", '  File "x.py", line 1, in f', "    g()", "    ^^^", "KeyError: 'notes'"]


def test_tracebacks_of_two_workers_that_mix_are_shown_whole_and_once() -> None:
    tracebacks, shown = Tracebacks(), []
    for text in TEXT:
        shown += [(rank, line) for rank in (1, 0) for line in tracebacks.add(Line(text, rank, "stderr"))]
    assert shown == [(1, text) for text in TEXT] + [(0, "KeyError: 'notes' (as worker 1)")]


def test_another_error_is_shown_whole() -> None:
    tracebacks = Tracebacks()
    for text in TEXT:
        tracebacks.add(Line(text, 0))
    other = [*TEXT[:-1], "mine.Error"]
    assert [line for text in other for line in tracebacks.add(Line(text, 1))] == other


def test_ordinary_lines_pass_at_once() -> None:
    tracebacks = Tracebacks()
    assert tracebacks.add(Line("  indented", 0)) == ["  indented"]
    tracebacks.add(Line(TEXT[0], 1))
    assert tracebacks.add(Line("hello", 0)) == ["hello"]


def test_a_traceback_that_breaks_off_is_shown_at_the_end() -> None:
    tracebacks = Tracebacks()
    assert tracebacks.add(Line(TEXT[0], 1)) == []
    assert tracebacks.add(Line(TEXT[1], 1)) == []
    assert tracebacks.close() == [(1, TEXT[:2])]
    assert tracebacks.close() == []
