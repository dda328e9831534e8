"""`hvdtrain doctor`: what this machine has, what is wrong, and the command that mends it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hvdtrain.launch.checks import Finding

_STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Look at this machine: versions, Horovod's build, cores, network, GPU, and what is wrong.

    Exits with 1 where something that training needs is missing.
    """
    from rich.console import Console

    import hvdtrain
    from hvdtrain.launch.checks import examine
    from hvdtrain.launch.facts import gather

    findings = examine(gather())
    console = Console(highlight=False)
    if as_json:
        typer.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        console.print(f"hvdtrain {hvdtrain.__version__}")
        console.print(table(findings))
        console.print(verdict(findings))
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)


def table(findings: list[Finding]) -> RenderableType:
    """Return the findings for a terminal, each with its remedy beneath."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for finding in findings:
        said = Text(finding.found)
        if finding.remedy:
            said.append("\nto mend it: ", style="dim").append(finding.remedy, style="cyan")
        grid.add_row(Text(finding.state, style=_STYLES[finding.state]), finding.what, said)
    return grid


def verdict(findings: list[Finding]) -> str:
    """Return the findings in one sentence."""
    bad = [finding.what for finding in findings if finding.state == "bad"]
    warned = [finding.what for finding in findings if finding.state == "warn"]
    if bad:
        return f"Training with several workers will not work: {', '.join(bad)}."
    return f"Ready to train; worth a look: {', '.join(warned)}." if warned else "Ready to train."
