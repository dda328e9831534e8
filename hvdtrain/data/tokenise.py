"""Documents to a file of tokens, a bounded number of characters at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from hvdtrain.data.documents import AnyDocument
from hvdtrain.data.tokenizers._tokenizer import Tokenizer

BATCH = 1 << 21
"""Characters that are encoded together: enough to keep all cores busy, little beside the model's memory."""


def token_type(vocab_size: int) -> np.dtype:
    """Return the smallest type of a token file that holds every id; its byte order is that of all machines in use."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def write_tokens(documents: Iterable[AnyDocument], tokenizer: Tokenizer, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write the documents' tokens, `eos_id` after each document.

    Returns:
        Each token's count, (vocab_size,) int64, and where each document's tokens end, (documents,) int64.

    Raises:
        DataError: a document can't be read or decoded.
    """
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    written, ends = 0, []
    with path.open("wb") as file:
        for ids in _encoded(_texts(documents), tokenizer):
            block = np.array([tokenizer.eos_id] if ids is None else ids, dtype=token_type(tokenizer.vocab_size))
            counts += np.bincount(block, minlength=tokenizer.vocab_size)
            file.write(block.tobytes())
            written += len(block)
            if ids is None:
                ends.append(written)
    return counts, np.array(ends, dtype=np.int64)


def _texts(documents: Iterable[AnyDocument]) -> Iterator[str | None]:
    """Yield the texts in order, None for the end of each document."""
    for document in documents:
        yield from document.chunks()
        yield None


def _encoded(texts: Iterator[str | None], tokenizer: Tokenizer) -> Iterator[list[int] | None]:
    """Yield the ids of the texts in order, None for the end of each document."""
    batch: list[str | None] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text or "")
        if size >= BATCH:
            yield from _encode(batch, tokenizer)
            batch, size = [], 0
    yield from _encode(batch, tokenizer)


def _encode(batch: list[str | None], tokenizer: Tokenizer) -> Iterator[list[int] | None]:
    encoded = iter(tokenizer.encode_batch([text for text in batch if text is not None]))
    for text in batch:
        yield None if text is None else next(encoded)


def unigram_loss(train_counts: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean loss, in nats a token, of predicting each target by its frequency in training alone.

    The frequencies are add-one smoothed, p(v) = (count(v) + 1) / (total + vocabulary), so that none is zero. `targets`
    are the counts of the validation targets. A model that learned anything beyond token counts is below this loss.
    """
    log_p = np.log(train_counts + 1.0) - np.log(float(train_counts.sum() + len(train_counts)))
    return float(-(targets * log_p).sum() / max(1, targets.sum()))
