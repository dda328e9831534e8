"""Several workers that do not synchronise are marked wherever a run is reported; other runs are not."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from hvdtrain.metrics.records import EndRecord, Record, StartRecord
from hvdtrain.report.comparison import comparison_document
from hvdtrain.report.document_markdown import markdown
from hvdtrain.report.history import History
from hvdtrain.report.panels import panel
from hvdtrain.report.plain import PlainReporter
from hvdtrain.report.run_document import run_document
from hvdtrain.report.run_report import report
from hvdtrain.report.sources import RunSource
from hvdtrain.report.summary import plain_summary

MARK = "separate models, losses are their mean"


def text(history: History) -> dict[str, str]:
    """Everything that is made of a run, by what it is."""
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(panel(history, elapsed=1, since_last=0, notice="", width=200, sample_lines=0))
    return {
        "live": console.export_text(),
        "summary": plain_summary(history),
        "report": markdown(run_document(history)),
        "json": str(report(history)),
        "side by side": markdown(comparison_document([RunSource(Path("x"), history, None)])),
    }


@pytest.mark.parametrize(
    ("sync", "workers", "marked"), [("none", 2, True), ("none", 1, False), ("allreduce", 2, False)]
)
def test_only_workers_that_do_not_synchronise_are_marked(
    sync: str, workers: int, marked: bool, recording: Callable[..., list[Record]]
) -> None:
    stream, history = io.StringIO(), History()
    plain = PlainReporter(stream)
    for record in [*recording(100, workers=workers), EndRecord(step=100, reason="finished", world_size=workers)]:
        if isinstance(record, StartRecord):
            record = replace(record, sync=sync)
        history(record)
        plain(record)
    for what, said in (text(history) | {"plain": stream.getvalue().split("step ")[0]}).items():
        assert (f"{workers} {MARK}" in said) is marked, what
