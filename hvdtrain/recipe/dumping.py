"""A recipe as YAML with every default written out."""

from __future__ import annotations

from io import StringIO

from ruamel.yaml import YAML

from hvdtrain.recipe.recipe import Recipe


def dump(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML text; `load` makes an equal recipe of it."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 120
    text = StringIO()
    yaml.dump(recipe.model_dump(mode="json"), text)
    return text.getvalue()
