"""The trials of a tuning as a table, and what they come to in a sentence."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hvdtrain.report import format as fmt
from hvdtrain.scaling.tuning.candidates import Candidate
from hvdtrain.scaling.tuning.search import Tried, sure

if TYPE_CHECKING:
    from rich.console import RenderableType


def stands_of(tried: Sequence[Tried]) -> Tried:
    """Return the recipe as it stands among what was tried."""
    return next(one for one in tried if one.candidate == Candidate())


def table(tried: Sequence[Tried]) -> RenderableType:
    """Return a row for each candidate, in the order of `Tuning.run`."""
    from rich.table import Table
    from rich.text import Text

    stands = stands_of(tried)
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    grid.add_column("settings", overflow="fold")
    for name in (f"{stands.unit}/s", "range", "launches", "against it"):
        grid.add_column(name, justify="right", no_wrap=True)
    for one in tried:
        style = "bold" if one is tried[0] else ""
        if one.error is not None:
            grid.add_row(Text(str(one.candidate)), "failed", "", "", "", style="red")
            continue
        low, high = fmt.rate(min(one.rates)), fmt.rate(max(one.rates))
        spread = f"{low} to {high}" if len(one.rates) > 1 else ""
        grid.add_row(
            Text(str(one.candidate)), fmt.rate(one.rate), spread, str(len(one.rates)), f"{one.rate / stands.rate:.3f}",
            style=style,
        )  # fmt: skip
    return grid


def verdict(tried: Sequence[Tried]) -> str:
    """Return what the user should do."""
    best, stands = tried[0], stands_of(tried)
    if best is stands:
        return "The recipe as it stands is the fastest of what was tried."
    gain = f"{fmt.rate(best.rate)} against {fmt.rate(stands.rate)} {stands.unit}/s, {best.rate / stands.rate:.3f} times"
    if not sure(best, stands):
        return f"{best.candidate}: {gain}; their trials overlap, so that it may be chance."
    return f"{best.candidate}: {gain}; its slowest launch beats the fastest of the recipe as it stands."


def how_to_use(best: Candidate, workers: int, recipe: str, overrides: Sequence[str]) -> str:
    """Return what to type for it."""
    controller = [f"--{best.controller}"] if best.controller else []
    return shlex.join(["hvdtrain", "launch", *controller, "-np", str(workers), recipe, *overrides, *best.overrides])
