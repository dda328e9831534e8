"""The `hvdtrain` command: its subcommands, and how an error becomes a message and an exit code."""

from __future__ import annotations

from typing import Annotated

import typer

from hvdtrain import __version__
from hvdtrain.cli import (
    checkpoint,
    compare,
    data,
    doctor,
    estimate,
    evaluate,
    generate,
    launch,
    predict,
    recipes,
    report,
    scale,
    train,
    trial,
    tune,
    validate,
)
from hvdtrain.cli.failure import fail
from hvdtrain.errors import HvdtrainError

app = typer.Typer(
    name="hvdtrain",
    help="Train models data-parallel with Horovod, from recipe files.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hvdtrain {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train models data-parallel with Horovod, from recipe files."""


app.command("train")(train.train)
app.command("launch", context_settings=launch.CONTEXT)(launch.launch)
app.command("validate")(validate.validate)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("generate")(generate.generate)
app.command("doctor")(doctor.doctor)
app.command("scale")(scale.scale)
app.command("compare")(compare.compare)
app.command("estimate")(estimate.estimate)
app.command("report")(report.report)
app.command("tune")(tune.tune)
app.command("trial", hidden=True)(trial.trial)
app.add_typer(recipes.app, name="recipes")
app.add_typer(data.app, name="data")
app.add_typer(checkpoint.app, name="checkpoint")


def main() -> None:
    """Run the command line and exit: 0 done, 1 a run failed, 2 the user can mend it."""
    try:
        app()
    except HvdtrainError as error:
        fail(error)
