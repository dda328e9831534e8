"""A recipe file becomes a typed `Recipe`: read, extend, override, validate, and explain all that is wrong at once."""

from __future__ import annotations

from hvdtrain.recipe.catalogue import shipped
from hvdtrain.recipe.dumping import dump
from hvdtrain.recipe.files import locate
from hvdtrain.recipe.json_schema import schema
from hvdtrain.recipe.loading import LoadedRecipe, load
from hvdtrain.recipe.recipe import Recipe
from hvdtrain.recipe.training import TrainConfig

__all__ = ["LoadedRecipe", "Recipe", "TrainConfig", "dump", "load", "locate", "schema", "shipped"]
