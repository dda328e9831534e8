"""Tokenizers, one file each: a `Config`, `train(config, texts)` and `load(path)`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hvdtrain.data.tokenizers._tokenizer import Tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer in a file that `Tokenizer.save` wrote, of whichever kind it is.

    Raises:
        DataError: the file is missing, damaged, or of a kind that is not installed.
    """
    from hvdtrain.data.tokenizers._tokenizer import read_file
    from hvdtrain.errors import DataError, nearest
    from hvdtrain.registry import find, names

    name = read_file(path)["name"]
    known = names("tokenizers")
    if name not in known:
        raise DataError(f"{path} holds a tokenizer of kind '{name}' (known: {', '.join(known)}){nearest(name, known)}")
    tokenizer: Tokenizer = find("tokenizers", name).load(path)
    return tokenizer
