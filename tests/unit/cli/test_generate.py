"""`hvdtrain generate`: what it hands to generation, and what it writes where."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import typer
from typer.testing import CliRunner

from hvdtrain.cli import generate as command
from hvdtrain.errors import UserError
from hvdtrain.train import generation, opening

CALLS: list[dict[str, object]] = []


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """The command, over a model and a generation that only record what they are asked for."""
    CALLS.clear()

    def open_trained(path: Path) -> SimpleNamespace:
        encoder = SimpleNamespace(tokenizer=f"tokenizer of {path}")
        return SimpleNamespace(
            model=torch.nn.Linear(1, 1), encoder=encoder, recipe=SimpleNamespace(name="tiny"), step=40, path=path
        )

    def generate(model: object, tokenizer: object, prompt: str, **options: object) -> list[str]:
        CALLS.append({"tokenizer": tokenizer, "prompt": prompt} | options)
        return ["to ", "b\u00e9"]

    monkeypatch.setattr(opening, "open_trained", open_trained)
    monkeypatch.setattr(generation, "generate", generate)
    app = typer.Typer()
    app.command()(command.generate)
    return app


def test_writes_prompt_and_text_to_standard_output_and_the_rest_beside_it(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["runs/x", "--prompt", "He said ", "--seed", "7"], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stdout == "He said to b\u00e9\n"
    assert result.stderr == "tiny at step 40, seed 7\n"


def test_options_arrive(app: typer.Typer) -> None:
    arguments = [
        "runs/x",
        "--max-new-tokens",
        "3",
        "--temperature",
        "0.5",
        "--top-k",
        "9",
        "--top-p",
        "0.7",
        "--seed",
        "1",
    ]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    (call,) = CALLS
    del call["device"]
    assert call == {
        "tokenizer": "tokenizer of runs/x",
        "prompt": "",
        "max_new_tokens": 3,
        "temperature": 0.5,
        "top_k": 9,
        "top_p": 0.7,
        "seed": 1,
    }


def test_a_seed_that_was_not_given_is_drawn_and_told(app: typer.Typer) -> None:
    errors = [CliRunner().invoke(app, ["runs/x"], catch_exceptions=False).stderr for _ in range(2)]
    seeds = [call["seed"] for call in CALLS]
    assert seeds[0] != seeds[1]
    assert [f"seed {seed}\n" in error for seed, error in zip(seeds, errors, strict=True)] == [True, True]


def test_a_dash_reads_standard_input_as_it_stands(app: typer.Typer) -> None:
    CliRunner().invoke(app, ["runs/x", "--prompt", "-"], input="na\u00efve\n\n", catch_exceptions=False)
    assert CALLS[0]["prompt"] == "na\u00efve\n\n"


def test_prompts_that_are_not_utf8_are_one_clear_error(app: typer.Typer) -> None:
    with pytest.raises(UserError, match=r"standard input is not UTF-8 \(byte 1\)"):
        CliRunner().invoke(app, ["runs/x", "--prompt", "-"], input=b"a\xff", catch_exceptions=False)
    with pytest.raises(UserError, match=r"--prompt is not UTF-8 \(byte 2\)"):
        CliRunner().invoke(app, ["runs/x", "--prompt", "ab\udcff"], catch_exceptions=False)
    assert CALLS == []


class Terminal(io.StringIO):
    encoding = "ascii"

    def isatty(self) -> bool:
        return True


def test_control_characters_do_not_reach_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    terminal.encoding = "utf-8"
    monkeypatch.setattr(sys, "stdout", terminal)
    command._write("a\x1b[2J\r\n\tb\x9b")
    assert terminal.getvalue() == "a\ufffd[2J\ufffd\n\tb\ufffd"


def test_a_terminal_that_lacks_a_character_shows_another(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    command._write("b\u00e9")
    assert terminal.getvalue() == "b?"
