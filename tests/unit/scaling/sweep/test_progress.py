from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console

from hvdtrain.metrics.records import TrialRecord
from hvdtrain.scaling.sweep.plan import Size
from hvdtrain.scaling.sweep.progress import Progress
from hvdtrain.scaling.sweep.store import Trial

ONE, TWO = Size("weak", 1, 1, ()), Size("weak", 2, 1, (), oversubscribed="2 workers x 1 thread on 1 core")


def rendered(progress: Progress) -> list[str]:
    console = Console(file=io.StringIO(), width=80, record=True)
    console.print(progress.render())
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_table_shows_what_is_done_running_and_left(make_trial: Callable[..., TrialRecord]) -> None:
    before = [Trial("weak-1x1", 0, (make_trial(),))]
    progress = Progress([ONE, TWO], 3, before, stream=io.StringIO(), live=False)
    progress.begin(TWO, 0)
    lines = rendered(progress)
    assert lines[1].split() == ["1", "worker,", "weak", "●··", "3,293", "311", "ms"]
    assert lines[2].split() == ["2", "workers,", "weak", "*", "◐··"]
    assert lines[3].startswith("now: 2 workers, weak, launch 1; 1 of 6 launches")


def test_without_a_terminal_each_launch_is_a_line(make_trial: Callable[..., TrialRecord]) -> None:
    stream = io.StringIO()
    with Progress([ONE, TWO], 2, [], stream=stream, live=False) as progress:
        progress.begin(ONE, 0)
        progress.done(Trial("weak-1x1", 0, (make_trial(),)), ONE)
        progress.begin(TWO, 0)
        progress.done(Trial("weak-2x1", 0, error="worker 1 was ended by SIGKILL\nmore"), TWO)
    head, first, second = stream.getvalue().splitlines()
    assert head.startswith("4 launches, one after the other")
    assert first.startswith("[1/4] 1 worker, weak, launch 1: 3,293 tokens/s, step 311 ms")
    assert second == "[1/2] 2 workers, weak: FAILED, its other repeats are left out: worker 1 was ended by SIGKILL"
    assert rendered(progress)[2].split()[-1] == "x·"
