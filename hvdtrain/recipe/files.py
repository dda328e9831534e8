"""Recipe files: found by path or shipped name, read whole, and laid over the recipes that they extend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from hvdtrain.errors import RecipeError, nearest
from hvdtrain.recipe.catalogue import shipped
from hvdtrain.recipe.layers import Layer, Place, Problem, merge
from hvdtrain.recipe.text import YamlSyntaxError, parse

MAX_BYTES = 1_000_000
_MAX_CHAIN = 10


class Read(NamedTuple):
    """A recipe file with all that it extends, and what is wrong with them as files."""

    layer: Layer
    problems: list[Problem]


def locate(source: str | Path) -> Path:
    """Return the path of a recipe file, or of the shipped recipe of that name.

    Raises:
        RecipeError: there is neither.
    """
    path = Path(source)
    if _is(path, Path.is_file):
        return path
    if found := shipped().get(str(source).removesuffix(".yaml")):
        return found
    if _is(path, Path.is_dir):
        raise RecipeError(f"'{source}' is a directory, not a recipe file")
    if _is(path, Path.exists):
        return path  # a pipe
    wanted = str(source).removesuffix(".yaml")
    known = nearest(wanted, shipped()) or nearest(Path(wanted).name, shipped())
    raise RecipeError(
        f"no recipe: '{source}' is neither a file nor a shipped recipe{known} (see 'hvdtrain recipes list')"
    )


def read_chain(path: Path, model: type[BaseModel]) -> Read:
    """Read a recipe file and, below it, the chain that its `extends` names.

    Raises:
        RecipeError: a file can't be read at all, or the chain has no end.
    """
    chain: list[Path] = []
    layers: list[Layer] = []
    problems: list[Problem] = []
    following: Path | None = path
    while following is not None:
        _check_chain(chain, following)
        chain.append(following)
        layer = _read(following, problems)
        layers.append(layer)
        following = _base(layer, following)
    whole = layers.pop()
    while layers:
        whole = merge(whole, layers.pop(), model)
    return Read(whole, problems)


def _read(path: Path, problems: list[Problem]) -> Layer:
    name = show(path)
    try:
        parsed = parse(_text(path, name))
    except YamlSyntaxError as error:
        raise RecipeError(f"{name}:{error.line}: {error}") from None
    places = {at: Place(name, line) for at, line in parsed.lines.items()}
    places[()] = Place(name)
    problems.extend(Problem(Place(name, line), at, message) for at, line, message in parsed.problems)
    if not isinstance(parsed.value, dict):
        what = "is empty" if parsed.value is None else "holds no mapping (key: value)"
        raise RecipeError(f"{name}: {what}; see a whole recipe with 'hvdtrain recipes show gpt-shakespeare'")
    return Layer(parsed.value, places)


def _text(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"cannot read recipe {name}: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise RecipeError(f"{name} is larger than {MAX_BYTES:,} bytes: not a recipe")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise RecipeError(f"{name}:{line}: not UTF-8 text (byte 0x{byte:02x}); save the file as UTF-8") from None


def _base(layer: Layer, path: Path) -> Path | None:
    """Take `extends` out of a layer and return the file it names: beside the recipe, or else a shipped one."""
    if "extends" not in layer.values:
        return None
    value, place = layer.values.pop("extends"), layer.places[("extends",)]
    if not isinstance(value, str) or not value:
        raise RecipeError(f"{place}: extends: must be one path or the name of a shipped recipe")
    for beside in (path.parent / value, path.parent / f"{value}.yaml"):
        if _is(beside, Path.is_file):
            return beside
    if found := shipped().get(value.removesuffix(".yaml")):
        return found
    known = nearest(value.removesuffix(".yaml"), shipped())
    raise RecipeError(
        f"{place}: extends = {value}: neither a file (looked in {path.parent}) nor the name of a shipped recipe{known}"
    )


def _is(path: Path, what: Callable[[Path], bool]) -> bool:
    """Whether a path is there and so; one that is too long, say, is not."""
    try:
        return what(path)
    except (OSError, ValueError):
        return False


def _check_chain(chain: list[Path], following: Path) -> None:
    shown = " extends ".join(show(path) for path in [*chain, following])
    if following.resolve() in (path.resolve() for path in chain):
        raise RecipeError(f"a recipe cannot extend itself: {shown}")
    if len(chain) >= _MAX_CHAIN:
        raise RecipeError(f"more than {_MAX_CHAIN} recipes extend each other: {shown}")


def show(path: Path) -> str:
    """Return a path as a person would type it: relative where it is below the working directory."""
    try:
        return str(path.resolve().relative_to(Path.cwd())) if path.is_absolute() else str(path)
    except (ValueError, OSError):
        return str(path)
