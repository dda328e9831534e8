"""A recipe as YAML with every default written out."""

from __future__ import annotations

import json
from io import StringIO

from ruamel.yaml import YAML

from hvdtrain.recipe.recipe import Recipe


def dump(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML text; `load` makes an equal recipe of it."""
    values = recipe.model_dump(mode="json")
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    # Written as they are, some characters that no one sees (U+0085) would be read back as line breaks.
    yaml.allow_unicode = json.dumps(values, ensure_ascii=False).isprintable()
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 120
    text = StringIO()
    yaml.dump(values, text)
    return text.getvalue()
