"""Data made ready for training, in the form that the task reads.

A corpus is split and tokenised once a host, kept in the cache, and mapped into memory.

An entry of the cache is named by everything that it depends on: the documents' content and order, the tokenizer's
config, the split's fraction and seed, and the version of this format. What a checkpoint has to agree with, the
fingerprint, does not follow the format.
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
from hvdtrain.data.documents import AnyDocument, TextDocument
from hvdtrain.data.encoders import CorpusEncoder
from hvdtrain.data.prepared import PreparedData
from hvdtrain.data.sequences import SequenceDataset
from hvdtrain.data.split import Split, split
from hvdtrain.data.tokenise import token_type, unigram_loss, write_tokens
from hvdtrain.data.tokenizers import load_tokenizer
from hvdtrain.errors import DataError
from hvdtrain.registry import RegisteredConfig, find

if TYPE_CHECKING:
    from hvdtrain.data._text import TextConfig
    from hvdtrain.data.tokenizers._tokenizer import Tokenizer

FORMAT = 2
"""Of the files of an entry."""
SAMPLES = 1
"""Of what is in the sequences: checkpoints of another number can't be resumed."""
UNIGRAM = "unigram baseline"
"""The name of the loss, in nats a token, of predicting validation tokens by their frequency in training alone."""


@dataclass(frozen=True)
class _Corpus:
    """The documents that take part, with the size and SHA-256 of each."""

    documents: tuple[AnyDocument, ...]
    sizes: tuple[int, ...]
    digests: tuple[str, ...]
    notes: tuple[str, ...]


def prepare(
    data: RegisteredConfig, tokenizer: RegisteredConfig | None, seed: int, form: str = "corpus"
) -> PreparedData:
    """Return the data that a recipe names; any number of processes may ask for the same together.

    Args:
        form: what the task reads: "corpus" (running text), "examples", or "environments".

    Raises:
        DataError: the source has no data of that form; files are missing, empty, unreadable or too short, or the cache
            can't be written.
    """
    source = find("data", data.name)
    has = {name for function, name in _FORMS.items() if hasattr(source, function)}
    if form == "examples" and "examples" in has:
        from hvdtrain.data.prepare_examples import prepare_examples

        return prepare_examples(data, tokenizer, seed)
    if form == "environments" and "environments" in has:
        from hvdtrain.data.prepare_environments import prepare_environments

        return prepare_environments(data, seed)
    if form == "corpus" and "tokens" in has:
        return _from_token_files(data)
    if form == "corpus" and has & {"corpus", "examples"}:
        return _prepare_corpus(data, tokenizer, seed, find_documents(data))
    raise DataError(f"data '{data.name}' holds {_WHAT[min(has)]}, and the task of this recipe reads {_WHAT[form]}")


_FORMS = {"documents": "corpus", "examples": "examples", "environments": "environments", "sequences": "tokens"}
_WHAT = {
    "corpus": "running text",
    "examples": "single samples",
    "environments": "environments to act in",
    "tokens": "running text as tokens",
}


def find_documents(data: RegisteredConfig) -> Sequence[AnyDocument]:
    """Return the documents of a source; of a source of single texts each text is one.

    Raises:
        DataError: its samples are no texts.
    """
    source = find("data", data.name)
    if hasattr(source, "documents"):
        return source.documents(data)  # type: ignore[no-any-return]
    examples = source.examples(data)
    if examples.kind not in ("texts", "pairs"):
        raise DataError(f"data '{data.name}' holds no texts, which a language model reads")
    return [TextDocument(f"text {number}", text) for number, text in enumerate(examples.inputs)]


def _prepare_corpus(
    data: RegisteredConfig, tokenizer: RegisteredConfig | None, seed: int, documents: Sequence[AnyDocument]
) -> PreparedData:
    if tokenizer is None:
        raise DataError(
            f"data '{data.name}' is text and needs a tokenizer, such as tokenizer: {{name: bpe, vocab_size: 2048}}"
        )
    config: TextConfig = data  # type: ignore[assignment]
    corpus = _scan(documents, data.name)
    key = _key(corpus, tokenizer, config.val_fraction, seed)

    def build(folder: Path) -> dict[str, Any]:
        parts = split(corpus.documents, corpus.sizes, config.val_fraction, seed)
        return _build(folder, corpus, parts, tokenizer)

    entry = cache.root() / "prepared" / f"{data.name}-{key[:20]}-{FORMAT}"
    facts = cache.ensure(entry, build)
    return _open(entry, facts, key, config.max_seq_len, corpus.notes)


def _from_token_files(data: RegisteredConfig) -> PreparedData:
    """Return token files of the user's as they are: nothing is known of what the ids stand for."""
    files = find("data", data.name).sequences(data)
    length: int = data.max_seq_len  # type: ignore[attr-defined]
    return PreparedData(
        train=_sequences(files.train, length, "training"),
        val=_sequences(files.val, length, "validation"),
        encoder=CorpusEncoder(vocab_size=files.vocab_size, max_seq_len=length),
        fingerprint=files.fingerprint,
        notes=files.notes,
    )


def _scan(documents: Sequence[AnyDocument], name: str) -> _Corpus:
    """Leave out empty documents, and repeated ones, which would leak from training into validation."""
    kept: dict[str, tuple[AnyDocument, int]] = {}
    empty = repeated = 0
    for document in documents:
        size, digest = document.size(), document.digest()
        empty += size == 0
        repeated += digest in kept
        if size:
            kept.setdefault(digest, (document, size))
    if not kept:
        raise DataError(f"data '{name}' has no text: {_documents(len(documents))}, all empty")
    notes = []
    if empty:
        notes.append(f"left out {_documents(empty)} without text")
    if repeated:
        notes.append(f"left out {_documents(repeated)} with the same content as another")
    documents_kept, sizes = zip(*kept.values(), strict=True)
    return _Corpus(documents_kept, sizes, tuple(kept), tuple(notes))


def _documents(count: int) -> str:
    return f"{count} document" if count == 1 else f"{count} documents"


def _key(corpus: _Corpus, tokenizer: RegisteredConfig, val_fraction: float, seed: int) -> str:
    encodings = [document.encoding for document in corpus.documents]
    everything = [SAMPLES, corpus.digests, encodings, tokenizer.model_dump(mode="json"), val_fraction, seed]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


def _build(folder: Path, corpus: _Corpus, parts: Split, config: RegisteredConfig) -> dict[str, Any]:
    """Write the tokenizer, trained on the training part alone, and both parts' tokens; return the entry's facts."""
    training_text = (chunk for document in parts.train for chunk in document.chunks())
    tokenizer: Tokenizer = find("tokenizers", config.name).train(config, training_text)
    tokenizer.save(folder / "tokenizer.json")
    train_counts, document_ends = write_tokens(parts.train, tokenizer, folder / "train.bin")
    np.save(folder / "train.npy", document_ends)
    val_counts, _ = write_tokens(parts.val, tokenizer, folder / "val.bin")
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
    train, val = (np.memmap(entry / name, dtype=dtype, mode="r") for name in ("train.bin", "val.bin"))
    return PreparedData(
        train=_sequences(train, max_seq_len, "training", np.load(entry / "train.npy")),
        val=_sequences(val, max_seq_len, "validation"),
        encoder=CorpusEncoder(tokenizer=tokenizer, vocab_size=tokenizer.vocab_size, max_seq_len=max_seq_len),
        references={"loss": {UNIGRAM: facts["unigram_loss"]}},
        fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
        notes=(*notes, *facts["notes"]),
    )


def _sequences(
    tokens: np.ndarray, max_seq_len: int, part: str, document_ends: np.ndarray | None = None
) -> SequenceDataset:
    if len(tokens) <= max_seq_len:
        more = "more text" if part == "training" else "more text, or a larger data.val_fraction"
        raise DataError(
            f"the {part} part has {len(tokens)} tokens, and one sequence takes {max_seq_len + 1}: give {more}, or set "
            f"data.max_seq_len={max(1, len(tokens) - 1)} or less"
        )
    return SequenceDataset(tokens, max_seq_len, document_ends)
