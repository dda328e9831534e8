"""The base of the recipe's own sections, and how one value's validator points at another value."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """Immutable, unknown keys forbidden, and no value is converted: `true` is no number and `"8"` is none either."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)


def misfit(key: str, message: str) -> PydanticCustomError:
    """Make the error of a value that does not fit another one.

    Raised in a field's validator, so that it is found beside all others. `key` says, from the section of that field,
    which value the message is about (dotted).
    """
    # The message goes through the context: its braces are no fields.
    return PydanticCustomError("misfit", "{message}", {"key": key, "message": message})
