from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from hvdtrain.cli.validate import validate
from hvdtrain.errors import RecipeError

app = typer.Typer()
app.command()(validate)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_a_valid_recipe_is_described() -> None:
    output = run("gpt-shakespeare", "train.epochs=3", "train.global_batch_size=64", "optimizer.lr=2e-4", "seed=7")
    assert output.startswith("gpt-shakespeare: valid\n")
    for part in ("gpt on shakespeare", "tokenizer bpe", "adamw, lr 0.0002, cosine", "3 epochs of 64 samples", "seed 7"):
        assert part in output


@pytest.mark.parametrize(
    ("length", "shown"), [("max_steps=50", "50 updates"), ("max_tokens=2000000", "2,000,000 tokens")]
)
def test_the_length_is_the_one_that_is_set(length: str, shown: str) -> None:
    assert shown in run("base/lm", f"train.{length}")


def test_a_batch_that_grows_with_the_workers_is_said_so(tmp_path: Path) -> None:
    assert "8 x workers samples" in run("base/lm", "train.global_batch_size=null")


def test_an_invalid_recipe_raises_what_the_command_line_prints() -> None:
    with pytest.raises(RecipeError, match=r"2 problems(.|\n)*optimizer\.lr(.|\n)*model\.n_heads"):
        run("base/lm", "optimizer.lr=-1", "model.n_heads=3")
