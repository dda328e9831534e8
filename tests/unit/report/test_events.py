from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable

import pytest

from hvdtrain.errors import RecipeError
from hvdtrain.metrics.activity import Activity
from hvdtrain.metrics.records import Record, SampleRecord
from hvdtrain.report.events import (
    Beat,
    EventWriter,
    Line,
    OutputParser,
    WorkerError,
    wanted,
    write_beat,
    write_error,
)

GLOO, MPI = "[{rank}]<stdout>:", "[1,{rank}]<stdout>:"


def parse(*pieces: str | bytes, stream: str = "stdout") -> list[object]:
    parser = OutputParser(stream)
    found: list[object] = []
    for piece in pieces:
        found += parser.feed(piece if isinstance(piece, bytes) else piece.encode())
    return found + parser.close()


def written(records: list[Record]) -> str:
    stream = io.StringIO()
    writer = EventWriter(stream)
    for record in records:
        writer(record)
    return stream.getvalue()


@pytest.mark.parametrize("prefix", ["", GLOO, MPI])
def test_every_record_survives_the_way_through_a_launcher(prefix: str, recording: Callable[..., list[Record]]) -> None:
    records = [*recording(200), SampleRecord(step=3, prompt="é\n", text='"\u2028\r\n[0]<stdout>: \x1b[2J')]
    text = "".join(prefix.format(rank=0) + line + "\n" for line in written(records).splitlines())
    assert parse(text) == records


def test_events_are_pure_ascii_and_one_line_each() -> None:
    text = written([SampleRecord(step=1, prompt="", text="ü\n\u2028x")])
    assert text.isascii()
    assert text.count("\n") == 1


def test_the_way_it_is_cut_into_pieces_does_not_matter(recording: Callable[..., list[Record]]) -> None:
    text = "".join(f"[0]<stdout>:{line}\n" for line in written(recording(30)).splitlines()) + "[1]<stderr>:wörld\n"
    data = text.encode()
    whole = parse(text)
    assert parse(*(data[i : i + 1] for i in range(len(data)))) == whole
    assert whole[-1] == Line("wörld", 1, "stderr")


def test_open_mpi_breaks_long_lines_with_prefixes_and_mixes_ranks(recording: Callable[..., list[Record]]) -> None:
    start, step = written(recording(10)).splitlines()
    broken = (
        f"[1,0]<stdout>:{start[:100]}[1,1]<stdout>:from one\n"
        f"[1,0]<stdout>:{start[100:]}\n[1,0]<stdout>:{step[:7]}[1,0]<stdout>:{step[7:]}\n"
    )
    assert parse(broken) == [Line("from one", 1), *recording(10)]


def test_lines_of_the_launcher_itself_have_no_rank() -> None:
    assert parse("Process 0 exit with status code 1.\n[0]<stdout>:hello\n\n  \n") == [
        Line("Process 0 exit with status code 1."),
        Line("hello", 0),
    ]


def test_progress_bars_show_only_what_stays() -> None:
    bar = "[0]<stderr>:\r[0]<stderr>: 10%\r[0]<stderr>: 50%\r[0]<stderr>:100%\n"
    assert parse(bar, stream="stderr") == [Line("100%", 0, "stderr")]


def test_windows_line_ends_lose_nothing() -> None:
    assert parse("[0]<stdout>:one\r[0]<stdout>:\n[0]<stdout>:two\r[0]<stdout>:\n") == [Line("one", 0), Line("two", 0)]


def test_what_has_no_line_end_is_shown_when_the_stream_closes() -> None:
    assert parse("[1]<stdout>:last words") == [Line("last words", 1)]


def test_bytes_that_are_not_utf8_do_no_harm() -> None:
    assert parse(b"[0]<stdout>:caf\xe9\n") == [Line("caf�", 0)]


@pytest.mark.parametrize("text", ["@hvdtrain {", "@hvdtrain []", '@hvdtrain {"event": "step"}', "@hvdtrain-error 3"])
def test_a_damaged_event_is_shown_as_a_line(text: str) -> None:
    assert parse(f"[0]<stdout>:{text}\n") == [Line(text, 0)]


def test_an_error_names_its_kind_code_and_rank() -> None:
    stream = io.StringIO()
    write_error(RecipeError("model.d_mode: unknown\nsecond ü"), 3, stream)
    assert stream.getvalue().isascii()
    expected = WorkerError("model.d_mode: unknown\nsecond ü", exit_code=2, rank=3, kind="RecipeError")
    assert parse("[3]<stdout>:" + stream.getvalue()) == [expected]


def test_an_error_without_kind_or_rank_is_that_of_the_worker_who_wrote_it() -> None:
    assert parse('[2]<stdout>:@hvdtrain-error {"exit_code": "x", "message": "m"}\n') == [WorkerError("m", 1, 2, "")]


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    parser = OutputParser()
    for _ in range(40):
        parser.feed(b"x" * 65536)
    assert len(parser._pending) <= 2 * OutputParser.MAX_LINE


def test_events_are_wanted_only_where_a_launcher_says_so() -> None:
    assert wanted({"HVDTRAIN_EVENTS": "1"})
    assert not wanted({"HVDTRAIN_EVENTS": "0"})
    assert not wanted({})


@pytest.mark.parametrize("prefix", ["", GLOO, MPI])
def test_a_sign_of_life_survives_the_way_through_a_launcher(prefix: str) -> None:
    stream = io.StringIO()
    write_beat(2, 11, Activity("gradients.w.0", 0.0, waits=True), 3.14159, stream)
    expected = Beat(2, 11, "gradients.w.0", True, 3.1, os.getpid(), socket.gethostname())
    assert parse(prefix.format(rank=2) + stream.getvalue()) == [expected]


@pytest.mark.parametrize("said", ['{"rank": "2", "step": 1, "seconds": 1}', '{"rank": 2}', "[]", "{"])
def test_what_is_no_sign_of_life_is_a_line(said: str) -> None:
    assert parse(f"@hvdtrain-beat {said}\n") == [Line(f"@hvdtrain-beat {said}", None)]
