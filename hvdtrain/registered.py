"""A field of a `Config` that holds another registered config: `partition: {name: random}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from hvdtrain.errors import nearest
from hvdtrain.registry import RegisteredConfig, config_class, names


@dataclass(frozen=True)
class RegisteredAs:
    """Annotates a `RegisteredConfig` field with its kind: the mapping's `name` picks the class that validates it."""

    kind: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate, serialization=core_schema.simple_ser_schema("any")
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        options = [handler(config_class(self.kind, name).__pydantic_core_schema__) for name in names(self.kind)]
        return {"oneOf": options}

    def _validate(self, value: Any) -> RegisteredConfig:
        known = names(self.kind)
        if isinstance(value, RegisteredConfig):
            value = value.model_dump() | {"name": value.name}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise PydanticCustomError(
                "registered_mapping",
                "expected a mapping with a name (known: {known}), such as {name: {example}}",
                {"known": ", ".join(known), "example": known[0] if known else ""},
            )
        if value["name"] not in known:
            raise PydanticCustomError(
                "registered_name",
                "no {kind} named '{name}' (known: {known}){nearest}",
                {
                    "kind": self.kind,
                    "name": value["name"],
                    "known": ", ".join(known),
                    "nearest": nearest(value["name"], known),
                },
            )
        return config_class(self.kind, value["name"]).model_validate(value)
