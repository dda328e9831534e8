"""Every recipe under recipes/, however deep, is valid, and the commands in its header are meant for it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from hvdtrain import recipe as recipes

ROOT = Path(__file__).parents[3]
SHIPPED = recipes.shipped()
FILES = sorted((ROOT / "recipes").rglob("*.y*ml"))


def header_commands(path: Path) -> list[str]:
    header = re.match(r"(#.*\n)*", path.read_text())
    assert header is not None
    lines = [line.lstrip("# ") for line in header[0].splitlines()]
    return [line for line in lines if re.match(r"(hvdtrain|horovodrun|mpirun) ", line)]


def test_the_catalogue_is_the_directory() -> None:
    assert sorted(SHIPPED.values()) == FILES
    assert {"base/lm", "gpt-shakespeare", "gpt-124m"} <= SHIPPED.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_valid_and_says_what_it_is(name: str) -> None:
    recipe = recipes.load(name).recipe
    assert recipe.name == Path(name).name
    assert recipe.description


@pytest.mark.parametrize("path", FILES, ids=str)
def test_its_header_has_commands_that_parse(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    commands = header_commands(path)
    assert commands
    for command in commands:
        words = shlex.split(command)
        arguments = words[words.index("hvdtrain") + 1 :]
        if arguments[:2] == ["data", "fetch"]:
            assert arguments[2:] == [recipes.load(str(path)).recipe.data.name]
            continue
        if arguments[0] in ("evaluate", "predict", "generate"):
            assert arguments[1] == f"runs/{path.stem}"
            continue
        assert arguments[0] in ("train", "launch", "validate")
        files = [word for word in arguments if word.endswith(".yaml")]
        assert [ROOT / file for file in files] == [path]
        recipes.load(files[0], arguments[arguments.index(files[0]) + 1 :])


def test_the_large_one_has_124_million_parameters() -> None:
    recipe = recipes.load("gpt-124m").recipe
    width, layers, vocabulary = recipe.model.d_model, recipe.model.n_layers, recipe.tokenizer.vocab_size
    # Query, key, value and output; gate, up and down of the SwiGLU; two norms a layer and one at the end.
    layer = 4 * width**2 + 3 * width * recipe.model.hidden_dim + 2 * width
    assert layers * layer + vocabulary * width + width == 123_587_328
    assert vocabulary % 64 == 0
    assert (recipe.data.name, recipe.train.precision) == ("text", "bf16")


def test_a_wheel_brings_its_recipes_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "site-packages" / "hvdtrain" / "_recipes" / "base" / "lm.yaml"
    inside.parent.mkdir(parents=True)
    inside.write_text("name: lm\n")
    monkeypatch.setattr("hvdtrain.__file__", str(inside.parents[2] / "__init__.py"))
    assert recipes.shipped() == {"base/lm": inside}
