"""`hvdtrain trial`: what each worker of a sweep, a tuning or a comparison runs. Not meant for people."""

from __future__ import annotations

from typing import Annotated

import typer


def trial(
    task: Annotated[str, typer.Argument(help="A scaling.trial.Task, or a scaling.compare.run.StrategyTask, as JSON.")],
    strategy: Annotated[bool, typer.Option("--strategy", help="It is the latter.")] = False,
) -> None:
    """Measure a few steps of a recipe, as one worker of a trial."""
    from hvdtrain.recipe import load
    from hvdtrain.report.events import EventWriter

    if strategy:
        from hvdtrain.scaling.compare.run import parse_strategy_task
        from hvdtrain.scaling.worker.strategy import train

        wanted = parse_strategy_task(task)
        EventWriter()(train(wanted, load(wanted.recipe, list(wanted.overrides))))
        return
    from hvdtrain.scaling.trial import parse_task
    from hvdtrain.scaling.worker.measure import measure

    asked = parse_task(task)
    EventWriter()(measure(asked, load(asked.recipe, list(asked.overrides))))
