"""`hvdtrain generate`: text from a checkpoint, written as it is made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def generate(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, or a run directory (its newest checkpoint).")],
    prompt: Annotated[
        str, typer.Option(help="Text to continue; - reads it from standard input; empty begins a new document.")
    ] = "",
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens to add.")] = 200,
    temperature: Annotated[float, typer.Option(help="0: always the most likely token; higher: more varied.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="Draw among the K most likely tokens.", show_default=False)] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Draw among the most likely tokens that together have probability P.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Repeats a text; drawn and printed where left out.", show_default=False)
    ] = None,
) -> None:
    """Continue a prompt with a trained language model; the prompt and its continuation go to standard output.

    Examples: hvdtrain generate runs/gpt-shakespeare --prompt "ROMEO:" --top-k 50 --seed 1
    """
    import secrets

    from hvdtrain.errors import UserError
    from hvdtrain.train import device as devices
    from hvdtrain.train.generation import generate as continue_text
    from hvdtrain.train.opening import open_trained

    text = _prompt(prompt)
    trained = open_trained(checkpoint)
    tokenizer = trained.encoder.tokenizer
    if tokenizer is None:
        raise UserError(f"{trained.path} has no tokenizer, so it can't write text; see `hvdtrain predict`")
    device = devices.choose(0)
    seed = secrets.randbelow(2**32) if seed is None else seed
    pieces = continue_text(
        trained.model.to(device),
        tokenizer,
        text,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        device=device,
    )
    typer.echo(f"{trained.recipe.name} at step {trained.step}, seed {seed}", err=True)
    _write(text)
    for piece in pieces:
        _write(piece)
    _write("\n")


def _prompt(option: str) -> str:
    """Return the prompt: the option itself, or standard input as it stands where the option is `-`.

    Raises:
        UserError: it is not UTF-8.
    """
    from hvdtrain.errors import UserError

    # bytes of the command line that are not UTF-8 reach Python as lone surrogates
    raw = sys.stdin.buffer.read() if option == "-" else option.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        source = "standard input" if option == "-" else "--prompt"
        raise UserError(f"{source} is not UTF-8 (byte {error.start}); give the prompt as UTF-8 text") from error


def _write(text: str) -> None:
    """Write text at once. On a terminal, control characters that a model made up must not act on it."""
    if sys.stdout.isatty():
        text = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()
