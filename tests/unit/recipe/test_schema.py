from __future__ import annotations

import json
from typing import Any

import pytest

from hvdtrain import registry
from hvdtrain.recipe import Recipe, schema

KINDS = {"task": "tasks", "model": "models", "data": "data", "tokenizer": "tokenizers", "sync": "sync"}


def names_of(node: Any, whole: dict[str, Any]) -> set[str]:
    """The `name` constants of everything that a section may be."""
    if "$ref" in node:
        node = whole["$defs"][node["$ref"].rpartition("/")[2]]
    found = {node["properties"]["name"]["const"]} if "name" in node.get("properties", {}) else set()
    return found.union(*(names_of(option, whole) for option in node.get("anyOf", [])))


def test_every_registered_name_may_stand_in_its_section() -> None:
    whole = schema()
    for section, kind in KINDS.items():
        assert names_of(whole["properties"][section], whole) == set(registry.names(kind))
    assert names_of(whole["properties"]["optimizer"], whole) == {"adamw", "sgd"}
    assert names_of(whole["properties"]["lr_scheduler"], whole) == {"cosine", "linear", "constant"}


@pytest.mark.usefixtures("other_model")
def test_what_other_packages_register_is_in_it() -> None:
    whole = schema()
    assert {"gpt", "other_net"} <= names_of(whole["properties"]["model"], whole)


def test_it_knows_all_keys_of_a_file_and_no_others() -> None:
    whole = schema()
    assert set(whole["properties"]) == {"extends", *Recipe.model_fields}
    assert whole["additionalProperties"] is False
    assert all(part["additionalProperties"] is False for part in whole["$defs"].values())


def test_sections_are_required_only_of_a_file_that_extends_none() -> None:
    whole = schema()
    assert set(whole["then"]["required"]) == {"name", "task", "model", "data", "optimizer", "train"}
    assert whole["if"] == {"not": {"required": ["extends"]}}
    del whole["then"], whole["if"]
    assert '"required"' not in json.dumps(whole)


def test_it_holds_no_path_of_this_machine() -> None:
    assert schema()["properties"]["output_dir"]["default"] == "runs/NAME"
