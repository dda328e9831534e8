"""A corpus made ready for training: split and tokenised once a host, kept in the cache, mapped into memory.

An entry of the cache is named by everything that it depends on: the documents' content and order, the tokenizer's
config, the split's fraction and seed, and the version of this format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hvdtrain.data import cache
from hvdtrain.data.sequences import SequenceDataset
from hvdtrain.data.split import Split, split
from hvdtrain.data.tokenise import token_type, unigram_loss, write_tokens
from hvdtrain.data.tokenizers import load_tokenizer
from hvdtrain.errors import DataError
from hvdtrain.registry import RegisteredConfig, find

if TYPE_CHECKING:
    from hvdtrain.data._text import TextConfig
    from hvdtrain.data.documents import Document
    from hvdtrain.data.tokenizers._tokenizer import Tokenizer

FORMAT = 1


@dataclass(frozen=True)
class PreparedData:
    """Tokenised text, ready to be loaded.

    `token_bytes` is the number of bytes that each token stands for, (vocab_size,) int32; `unigram_loss` the loss, in
    nats a token, of predicting validation tokens by their frequency in training. Equal fingerprints mean equal tokens.
    """

    train: SequenceDataset
    val: SequenceDataset
    tokenizer: Tokenizer
    token_bytes: np.ndarray
    unigram_loss: float
    fingerprint: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Corpus:
    """The documents that take part, with the size and SHA-256 of each."""

    documents: tuple[Document, ...]
    sizes: tuple[int, ...]
    digests: tuple[str, ...]
    notes: tuple[str, ...]


def prepare(data: RegisteredConfig, tokenizer: RegisteredConfig | None, seed: int) -> PreparedData:
    """Return the data that a recipe names, tokenised; any number of processes may ask for the same together.

    Raises:
        DataError: files are missing, empty, unreadable or too short, or the cache can't be written.
    """
    if tokenizer is None:
        raise DataError(
            f"data '{data.name}' is text and needs a tokenizer, such as tokenizer: {{name: bpe, vocab_size: 2048}}"
        )
    config: TextConfig = data  # type: ignore[assignment]
    corpus = _scan(find("data", data.name).documents(config), data.name)
    key = _key(corpus, tokenizer, config.val_fraction, seed)

    def build(folder: Path) -> dict[str, Any]:
        parts = split(corpus.documents, corpus.sizes, config.val_fraction, seed)
        return _build(folder, corpus, parts, tokenizer)

    entry = cache.root() / "prepared" / f"{data.name}-{key[:20]}"
    facts = cache.ensure(entry, build)
    return _open(entry, facts, key, config.max_seq_len, corpus.notes)


def _scan(documents: Sequence[Document], name: str) -> _Corpus:
    """Leave out empty documents, and repeated ones, which would leak from training into validation."""
    kept: dict[str, tuple[Document, int]] = {}
    empty = repeated = 0
    for document in documents:
        size, digest = document.size(), document.digest()
        empty += size == 0
        repeated += digest in kept
        if size:
            kept.setdefault(digest, (document, size))
    if not kept:
        raise DataError(f"data '{name}' has no text: {_files(len(documents))}, all empty")
    notes = []
    if empty:
        notes.append(f"left out {_files(empty)} without text")
    if repeated:
        notes.append(f"left out {_files(repeated)} with the same content as another")
    documents_kept, sizes = zip(*kept.values(), strict=True)
    return _Corpus(documents_kept, sizes, tuple(kept), tuple(notes))


def _files(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"


def _key(corpus: _Corpus, tokenizer: RegisteredConfig, val_fraction: float, seed: int) -> str:
    encodings = [document.encoding for document in corpus.documents]
    everything = [FORMAT, corpus.digests, encodings, tokenizer.model_dump(mode="json"), val_fraction, seed]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


def _build(folder: Path, corpus: _Corpus, parts: Split, config: RegisteredConfig) -> dict[str, Any]:
    """Write the tokenizer, trained on the training part alone, and both parts' tokens; return the entry's facts."""
    training_text = (chunk for document in parts.train for chunk in document.chunks())
    tokenizer: Tokenizer = find("tokenizers", config.name).train(config, training_text)
    tokenizer.save(folder / "tokenizer.json")
    train_counts = write_tokens(parts.train, tokenizer, folder / "train.bin")
    val_counts = write_tokens(parts.val, tokenizer, folder / "val.bin")
    for document, digest in zip(corpus.documents, corpus.digests, strict=True):
        if document.digest() != digest:
            raise DataError(f"{document.path} changed while it was read; start again when it is finished")
    first = np.fromfile(folder / "val.bin", dtype=token_type(tokenizer.vocab_size), count=1)
    val_counts[first] -= 1  # it is an input only
    return {
        "train_tokens": int(train_counts.sum()),
        "val_tokens": int(val_counts.sum()) + 1,
        "notes": parts.notes,
        "unigram_loss": unigram_loss(train_counts, val_counts),
        "tokenizer": tokenizer.fingerprint,
        "sha256": [cache.sha256(folder / name) for name in ("train.bin", "val.bin")],
    }


def _open(entry: Path, facts: dict[str, Any], key: str, max_seq_len: int, notes: tuple[str, ...]) -> PreparedData:
    tokenizer = load_tokenizer(entry / "tokenizer.json")
    dtype = token_type(tokenizer.vocab_size)
    identity = json.dumps([key, facts["tokenizer"], facts["sha256"]])
    return PreparedData(
        train=_sequences(entry / "train.bin", dtype, max_seq_len, "training"),
        val=_sequences(entry / "val.bin", dtype, max_seq_len, "validation"),
        tokenizer=tokenizer,
        token_bytes=tokenizer.token_bytes(),
        unigram_loss=facts["unigram_loss"],
        fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
        notes=(*notes, *facts["notes"]),
    )


def _sequences(path: Path, dtype: np.dtype, max_seq_len: int, part: str) -> SequenceDataset:
    tokens = np.memmap(path, dtype=dtype, mode="r")
    if len(tokens) <= max_seq_len:
        more = "more text" if part == "training" else "more text, or a larger data.val_fraction"
        raise DataError(
            f"the {part} part has {len(tokens)} tokens, and one sequence takes {max_seq_len + 1}: give {more}, or set "
            f"data.max_seq_len={max(1, len(tokens) - 1)} or less"
        )
    return SequenceDataset(tokens, max_seq_len)
