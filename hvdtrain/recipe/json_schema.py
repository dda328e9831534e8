"""The JSON schema of recipe files, so that editors complete and check them."""

from __future__ import annotations

from typing import Any

from hvdtrain.recipe.recipe import Recipe


def schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe file, with all that is registered in this environment.

    A file may leave to the one that it extends whatever it does not change itself. So only a file that extends none has
    to have the sections of a recipe, and inside a section nothing is required: `hvdtrain validate` knows the whole.
    """
    whole = Recipe.model_json_schema()
    required = whole.pop("required")
    relaxed: dict[str, Any] = _relax(whole)
    relaxed["properties"] = {
        "extends": {"type": "string", "description": "The recipe that this one changes."}
    } | relaxed["properties"]
    unless_extending = {"if": {"not": {"required": ["extends"]}}, "then": {"required": required}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | relaxed | unless_extending


def _relax(node: Any) -> Any:
    """Require nothing, and let a section without its name be any of those that may stand there."""
    if isinstance(node, list):
        return [_relax(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if key not in ("discriminator", "required")}
    return {"anyOf" if key == "oneOf" else key: _relax(value) for key, value in kept.items()}
