"""`hvdtrain predict`: what a trained model says of inputs: a class, a number, a translation."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvdtrain.cli.evaluate import Which

if TYPE_CHECKING:
    from hvdtrain.data.inputs import Named
    from hvdtrain.train.opening import Trained


def predict(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, or a run directory.")],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files: texts (a line each, .csv, .jsonl, .parquet), images or folders of them (or .npz), tables "
            "(.csv, .jsonl, .parquet, .npz); - reads texts from standard input.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="A text; may be repeated.", show_default=False)] = None,
    column: Annotated[
        str | None,
        typer.Option(
            help="The column of texts, or array of .npz; by default that of training, or 'text'.", show_default=False
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write JSON lines here.", show_default=False)] = None,
    which: Annotated[Which, typer.Option(help="Of a run directory: the best or the newest checkpoint.")] = Which.best,
    batch_size: Annotated[int, typer.Option(min=1, help="Inputs at a time.")] = 32,
) -> None:
    """Predict for texts, images or rows; files give a JSON line for each input.

    Examples: hvdtrain predict runs/translation-en-es --text "In the beginning"; hvdtrain predict
    runs/cnn-fashion-mnist shirt.png; hvdtrain predict runs/sentiment-lstm reviews.txt --output found.jsonl
    """
    from hvdtrain.errors import UserError
    from hvdtrain.train import device as devices
    from hvdtrain.train.opening import open_trained
    from hvdtrain.train.prediction import predict as run

    if not inputs and not text:
        raise UserError("nothing to predict: give files, or --text TEXT, or - for standard input")
    trained = open_trained(checkpoint, prefer=which.value)
    named: list[dict[str, Any]] = []

    def raw() -> Iterator[Any]:
        for name, value in _inputs(trained, inputs or [], text or [], column):
            named.append(name)
            yield value

    found = run(trained, raw(), devices.choose(0), batch_size)
    if inputs or output:
        _write_lines(({**named[index], **values} for index, values in enumerate(found)), output)
    else:
        for index, values in enumerate(found):
            typer.echo(_sentence(str(named[index]["input"]), values))


def _inputs(trained: Trained, files: list[Path], texts: list[str], column: str | None) -> Iterator[Named]:
    from hvdtrain.data.encoders import TextEncoder
    from hvdtrain.data.inputs import read_inputs, read_lines
    from hvdtrain.errors import UserError

    if (texts or Path("-") in files) and not isinstance(trained.encoder, TextEncoder):
        raise UserError(f"this model reads {trained.encoder.kind}, not texts: give it files")
    for one in texts:
        yield {"input": one}, one
    for path in files:
        if path == Path("-"):
            yield from read_lines(sys.stdin, "standard input")
        else:
            yield from read_inputs(trained.encoder, [path], column, trained.recipe.data)


def _write_lines(rows: Iterator[dict[str, Any]], output: Path | None) -> None:
    from hvdtrain.errors import SetupError

    if output is None:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
        return
    # Whole or not at all: a bad row at the end of a file must not leave half of the answers under the asked name.
    partial = output.with_name(f".{output.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        partial.replace(output)
    except OSError as error:
        raise SetupError(f"can't write {output}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _sentence(given: str, values: dict[str, Any]) -> str:
    """Return a prediction as a person reads it: the first value is the answer, the rest say how sure it is."""
    answer, *rest = values.items()
    details = [f"{name} {value:.3g}" for name, value in rest if isinstance(value, (int, float))]
    return f"{given}\n  {answer[1]}" + (f"  ({', '.join(details)})" if details else "")
