"""What every tokenizer is: token ids to bytes and back, and a JSON file that it is saved to."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvdtrain.errors import DataError

if TYPE_CHECKING:
    import numpy as np

FORMAT = "hvdtrain-tokenizer-1"


class Tokenizer(ABC):
    """Text to token ids and back, exactly: `decode(encode(text)) == text` for any text.

    Each id stands for a fixed string of bytes; the last id, `eos_id`, for the end of a document and for no bytes. No
    text encodes to `eos_id`. `fingerprint` is equal for tokenizers that encode alike.
    """

    name: str

    def __init__(self, pieces: Sequence[bytes]) -> None:
        """`pieces` are the bytes of each id, without the end of a document."""
        self._pieces = [*pieces, b""]
        self.vocab_size = len(self._pieces)
        self.eos_id = len(pieces)

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; no end of document is added."""

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, using all cores where the tokenizer can."""

    @abstractmethod
    def _content(self) -> dict[str, Any]:
        """Return what `load` needs, as JSON values."""

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the ids; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of the ids, which may begin or end within a character."""
        return b"".join([self._pieces[i] for i in ids])

    def token_bytes(self) -> np.ndarray:
        """Return the number of bytes that each id stands for: (vocab_size,) int32, 0 for `eos_id`."""
        import numpy as np

        return np.array([len(piece) for piece in self._pieces], dtype=np.int32)

    def token_characters(self) -> np.ndarray:
        """Return the number of characters that begin in each id's bytes: (vocab_size,) int32; over a text, its
        characters."""
        import numpy as np

        starts = [sum(byte & 0xC0 != 0x80 for byte in piece) for piece in self._pieces]
        return np.array(starts, dtype=np.int32)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the file that `save` writes."""
        return hashlib.sha256(self._text().encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the tokenizer to a JSON file; equal tokenizers give equal files."""
        path.write_text(self._text(), "utf-8")

    def _text(self) -> str:
        content = {"format": FORMAT, "name": self.name} | self._content()
        return json.dumps(content, ensure_ascii=True, sort_keys=True) + "\n"


def read_file(path: Path) -> dict[str, Any]:
    """Return the content of a file that `Tokenizer.save` wrote.

    Raises:
        DataError: it is missing or not such a file.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"cannot read the tokenizer {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a tokenizer that hvdtrain saved: it is not JSON") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("name"), str):
        raise DataError(f"{path} is not a tokenizer that hvdtrain saved: it has no format {FORMAT}")
    return content
