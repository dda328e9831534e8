from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hvdtrain.recipe import LoadedRecipe, dump, load, shipped

Load = Callable[..., LoadedRecipe]
Write = Callable[..., Path]


@pytest.mark.parametrize("name", shipped())
def test_a_resolved_recipe_reads_back_as_itself(write: Write, name: str) -> None:
    recipe = load(name).recipe
    assert load(write(dump(recipe))).recipe == recipe


def test_everything_is_written_out_in_the_order_of_the_fields(loaded: Load) -> None:
    recipe = loaded().recipe
    keys = [line.split(":")[0] for line in dump(recipe).splitlines() if not line.startswith((" ", "-"))]
    assert keys == list(type(recipe).model_fields)
    assert "output_dir: runs/trial" in dump(recipe)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    st.integers(0, 2**32 - 1),
)
def test_any_text_and_number_reads_back(loaded: Load, write: Write, text: str, lr: float, seed: int) -> None:
    recipe = loaded().recipe
    optimizer = recipe.optimizer.model_copy(update={"lr": lr})
    recipe = recipe.model_copy(update={"description": text, "optimizer": optimizer, "seed": seed})
    assert load(write(dump(recipe), name="again.yaml")).recipe == recipe


@pytest.mark.parametrize(
    "text", ["no", "1e-3", "null", "~", "", " x ", "a: b", "2024-01-01", "0x1", "'", "- a", "# b", "é\u2028"]
)
def test_text_that_looks_like_something_else_stays_text(loaded: Load, write: Write, text: str) -> None:
    recipe = loaded().recipe.model_copy(update={"description": text})
    assert load(write(dump(recipe), name="again.yaml")).recipe.description == text
