"""Which strategies are compared, with which options, and in which order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hvdtrain import registry
from hvdtrain.errors import UserError, nearest
from hvdtrain.metrics.strategies import FLOOR
from hvdtrain.recipe import LoadedRecipe, load
from hvdtrain.recipe.batching import plan_batch

SYNTAX = (
    "NAME or NAME:KEY=VALUE:KEY=VALUE, with commas between strategies, such as allreduce,allreduce:compression=fp16"
)
_OPTION = re.compile(r"[A-Za-z_][\w.]*=.+")


@dataclass(frozen=True)
class Choice:
    """A strategy and its options, each `KEY=VALUE`."""

    name: str
    options: tuple[str, ...] = ()

    @property
    def overrides(self) -> tuple[str, ...]:
        """What it changes in a recipe."""
        return (f"sync.name={self.name}", *(f"sync.{option}" for option in self.options))

    def __str__(self) -> str:
        return ":".join((self.name, *self.options))


NOTHING = Choice(FLOOR)


def parse_choices(texts: Sequence[str]) -> list[Choice]:
    """Return the strategies that `--sync` names, each time it is given; without any, all there are. The floor is not
    among them: it is always measured.

    Raises:
        UserError: a name is not known, or a text is no strategy.
    """
    if not texts:
        return [Choice(name) for name in registry.names("sync") if name != FLOOR]
    choices = [_parse(part.strip()) for text in texts for part in text.split(",")]
    twice = next((one for one in choices if choices.count(one) > 1), None)
    if twice is not None:
        raise UserError(f"--sync: {twice} is named twice; name each strategy once, or with other options")
    kept = [one for one in choices if one != NOTHING]
    if not kept:
        raise UserError("--sync none: it is measured in any case; name what to compare with it, such as allreduce")
    return kept


def _parse(text: str) -> Choice:
    name, *options = (part.strip() for part in text.split(":"))
    known = registry.names("sync")
    if not name:
        raise UserError(f"--sync: a strategy without a name; expected {SYNTAX}")
    if name not in known:
        raise UserError(f"--sync {text}: no strategy named '{name}' (known: {', '.join(known)}){nearest(name, known)}")
    for option in options:
        if not _OPTION.fullmatch(option) or option.startswith("name="):
            raise UserError(f"--sync {text}: '{option}' is no option; expected {SYNTAX}")
    return Choice(name, tuple(options))


def check_overrides(overrides: Sequence[str]) -> None:
    """Refuse changes to the recipe that not every strategy could have.

    Raises:
        UserError: one of them is of the section `sync`.
    """
    for text in overrides:
        key, _, value = text.partition("=")
        if key == "sync" or key.startswith("sync."):
            own = f"NAME:{key.removeprefix('sync.')}={value}" if key != "sync" else "NAME:KEY=VALUE"
            raise UserError(f"{text}: options of a strategy stand with its name: --sync {own}")


def load_all(recipe: str, overrides: Sequence[str], choices: Sequence[Choice], workers: int) -> dict[str, LoadedRecipe]:
    """Return the recipe as it is with each strategy, the floor's first.

    What the recipe's own `sync` says holds as far as a strategy knows it.

    Raises:
        RecipeError: the recipe or an option is wrong, or its batch can't be shared out among so many workers.
    """
    check_overrides(overrides)
    found = {str(one): load(recipe, [*overrides, *one.overrides]) for one in (NOTHING, *choices)}
    plan_batch(found[FLOOR].recipe.train, workers)
    return found


def problems(loaded: dict[str, LoadedRecipe], workers: int, controller: str) -> dict[str, str]:
    """Return why strategies can't run with so many workers under that controller, by their name with options."""
    found: dict[str, str] = {}
    for name, one in loaded.items():
        ask = getattr(one.recipe.sync, "problem", None)
        if ask is not None and (said := ask(workers, controller)) is not None:
            found[name] = said
    return found


def order(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Yield (round, strategy): every round has each once, every other one the other way, so that a machine that
    drifts favours none.
    """
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            yield number, name
