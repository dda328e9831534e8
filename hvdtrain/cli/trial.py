"""`hvdtrain trial`: what each worker of a scaling sweep runs. Not meant for people."""

from __future__ import annotations

from typing import Annotated

import typer


def trial(task: Annotated[str, typer.Argument(help="A scaling.trial.Task as JSON.")]) -> None:
    """Measure a few steps of a recipe, as one worker of a trial."""
    from hvdtrain.recipe import load
    from hvdtrain.report.events import EventWriter
    from hvdtrain.scaling.trial import parse_task
    from hvdtrain.scaling.worker.measure import measure

    asked = parse_task(task)
    EventWriter()(measure(asked, load(asked.recipe, list(asked.overrides))))
