"""What a person reads of a run: console, files and summaries, all made from its records, never from a live trainer.

Every reporter is a subscriber: called with each record, closed at the end. `subscribe` picks those of a training run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

from hvdtrain.metrics.records import Record

if TYPE_CHECKING:
    from hvdtrain.recipe import Recipe


class Subscriber(Protocol):
    """Whoever wants to know of a run: called with every record in its order, then closed once, also after a failure."""

    def __call__(self, record: Record) -> None: ...

    def close(self) -> None:
        """Give back what it holds: the terminal, open files."""
        ...


@contextmanager
def subscribe(recipe: Recipe, *, plain: bool = False, moved: str | None = None) -> Iterator[Callable[[Record], None]]:
    """Give the function to publish a run's records with.

    `plain` asks for lines, also on a terminal; `moved` is where an earlier run of the same output directory is now.
    """
    from hvdtrain.recipe import dump
    from hvdtrain.report.console import make_reporter
    from hvdtrain.report.environment import gather_environment
    from hvdtrain.report.files import FileReporter

    with ExitStack() as closing:
        console = make_reporter(plain=plain)
        closing.callback(console.close)
        files = FileReporter(
            recipe.output_dir,
            recipe_yaml=dump(recipe),
            environment=gather_environment(),
            note=console.message,
            plots=recipe.train.plots,
        )
        closing.callback(files.close)
        if moved:
            console.message(f"the earlier run in {recipe.output_dir} is now in {moved}")

        def publish(record: Record) -> None:
            # To the disk first: what a person saw can be found again.
            files(record)
            console(record)

        yield publish
