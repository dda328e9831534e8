"""From a file and overrides to a typed recipe, or to one error that lists everything that is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from hvdtrain.recipe.files import locate, read_chain, show
from hvdtrain.recipe.layers import Layer, Problem, lookup, merge
from hvdtrain.recipe.overrides import read_overrides
from hvdtrain.recipe.problems import complaint, find_problems
from hvdtrain.recipe.recipe import Recipe


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe, the file it came from, and who set what.

    `origins` has "override" or "recipe" for each dotted key that was set; a key that is not in it has its default.
    """

    recipe: Recipe
    path: Path | None = None
    origins: Mapping[str, str] = field(default_factory=dict)


def load(source: str | Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Load a recipe file, or the shipped recipe of that name, with changes such as `optimizer.lr=3e-4`.

    Raises:
        RecipeError: with every problem found, each with its place.
    """
    path = locate(source)
    below, problems = read_chain(path, Recipe)
    changes, wrong = read_overrides(overrides)
    problems += wrong
    layer = merge(below, changes, Recipe)
    recipe = _validate(layer, problems)
    if recipe is None or problems:
        raise complaint(problems, layer, show(path))
    return LoadedRecipe(recipe, path, layer.origins())


def _validate(layer: Layer, problems: list[Problem]) -> Recipe | None:
    """Validate, and add what is found to the problems; a value that could not even be read is named once."""
    unread = [problem.path for problem in problems if problem.path and lookup(layer.values, problem.path) is None]
    try:
        return Recipe.model_validate(layer.values)
    except ValidationError as error:
        problems += [problem for problem in find_problems(error, layer, Recipe) if problem.path not in unread]
    return None
