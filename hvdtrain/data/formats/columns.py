"""What sources configure whose samples are rows with named columns: which column is what."""

from __future__ import annotations

import codecs
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from hvdtrain.data._config import ExamplesConfig

Kind = Literal["auto", "class", "number", "text"]
Column = Annotated[str, Field(min_length=1)]
Path = Annotated[str, Field(min_length=1)]
IGNORED = {"name", "paths", "val_paths", "test_paths", "path", "partition", "val_fraction", "test_fraction"}
"""Fields that say where samples are and who gets them, and not what they are."""


def text_encoding(name: str) -> str:
    """Return the one spelling of a text encoding that Python knows."""
    try:
        "".encode(name)
        return codecs.lookup(name).name
    except (LookupError, UnicodeError, ValueError) as error:
        raise ValueError(f"no text encoding is named '{name}'; common ones are utf-8, latin-1, cp1252") from error


Encoding = Annotated[str, AfterValidator(text_encoding)]


class TargetConfig(ExamplesConfig):
    """Samples with something to predict, `target`.

    `target_kind` says what a target is: a `class` (its name is what stands in the file), a `number`, or a `text` (for
    translation). With `auto` fractions are numbers; true and false, and whole numbers of at most 20 different values,
    are classes; texts are classes too, unless inputs are texts and most targets differ. A note says what was taken.
    """

    target: Column | None = None
    target_kind: Kind = "auto"


class ColumnsConfig(TargetConfig):
    """Rows with named columns.

    `inputs` is a list of columns of numbers, by default all but `target`; or, without brackets, one column of texts,
    which need a tokenizer and lose their end where they are longer than `max_seq_len` tokens.
    """

    inputs: Column | Annotated[list[Column], Field(min_length=1)] | None = Field(None, validate_default=True)
    max_seq_len: int = Field(128, ge=1)

    @property
    def needs_tokenizer(self) -> bool:
        """Whether inputs are texts."""
        return isinstance(self.inputs, str)

    @property
    def why_tokenizer(self) -> str:
        """Why, for a message."""
        return f", as inputs = {self.inputs} is one column of texts (of numbers it would be [{self.inputs}])"

    @field_validator("inputs")
    @classmethod
    def _other_columns(cls, inputs: Any, info: Any) -> Any:
        listed = inputs if isinstance(inputs, list) else [inputs]
        if repeated := [name for name in listed if listed.count(name) > 1]:
            raise _misfit("inputs", f"names {repeated[0]} twice")
        if inputs is not None and info.data.get("target") in listed:
            raise _misfit("inputs", f"names {info.data['target']}, which is the target: a model would copy it")
        if info.data.get("target_kind") == "text" and not isinstance(inputs, str):
            raise _misfit("inputs", "must name one column of texts, as the target is a text (inputs: NAME, no list)")
        return inputs


class ColumnFilesConfig(ColumnsConfig):
    """Files of rows. A path is a file, a glob (`parts/*`), or a directory: every file of the kind below it.

    Relative paths start at the working directory and `~` at the home directory. `val_paths` and `test_paths` are files
    that are held out, instead of a share of `paths`.
    """

    paths: list[Path] = Field(min_length=1)
    val_paths: list[Path] | None = Field(None, min_length=1)
    test_paths: list[Path] | None = Field(None, min_length=1)


def _misfit(key: str, message: str) -> PydanticCustomError:
    """Make an error as `recipe.checks.misfit` does, at a key of this section."""
    return PydanticCustomError("misfit", "{message}", {"key": key, "message": message})
