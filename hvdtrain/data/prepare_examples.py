"""Samples made ready for training: parted, and encoded with what the training part alone tells.

Rows of numbers and images are standardised when they are read. Texts are tokenised once a host and kept in the cache;
of images it keeps the mean and the standard deviation. An entry of the cache is named by everything that it depends
on: the data's fingerprint, the parts' fractions and seed, the tokenizer's config, and the version of this format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hvdtrain.data import cache
from hvdtrain.data.encoders import Encoder, ImageEncoder, PairEncoder, TableEncoder, TextEncoder
from hvdtrain.data.ordering import permutation
from hvdtrain.data.parts import Parts, make_parts
from hvdtrain.data.prepared import Dataset, PreparedData
from hvdtrain.data.token_rows import TokenRows, read_rows, write_rows
from hvdtrain.data.tokenizers import load_tokenizer
from hvdtrain.errors import DataError
from hvdtrain.registry import RegisteredConfig, find

if TYPE_CHECKING:
    from hvdtrain.data._config import ExamplesConfig
    from hvdtrain.data.examples import Examples
    from hvdtrain.data.tokenizers._tokenizer import Tokenizer

FORMAT = 1
SAMPLED_IMAGES = 10_000
"""Training images that the mean and the standard deviation are taken from, at most."""
IMAGES_AT_ONCE = 256
IMAGES = 0x696D6167
"""Keeps the random numbers that choose those images apart from others."""

_MakePart = Callable[[np.ndarray], Dataset]
"""Makes the data set of some rows."""


@dataclass(frozen=True)
class _Source:
    """What all kinds of samples are prepared from; `key` names it in the cache."""

    examples: Examples
    parts: Parts
    name: str
    key: str
    tokenizer: RegisteredConfig | None
    max_seq_len: int

    @property
    def entry(self) -> Path:
        return cache.root() / "prepared" / f"{self.name}-{self.key[:20]}"


@dataclass(frozen=True)
class _Encoded:
    """An encoder, fitted, the data set of any rows encoded by it, and what identifies what was made beside the key."""

    encoder: Encoder
    make_part: _MakePart
    identity: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def prepare_examples(data: RegisteredConfig, tokenizer: RegisteredConfig | None, seed: int) -> PreparedData:
    """Return the parts of a source of samples; any number of processes may ask for the same together.

    Raises:
        DataError: the source has no usable samples (none in a part, a class without any, one class only, numbers that
            are not finite, texts to predict of numbers or images), it has texts and there is no tokenizer, or the cache
            can't be written.
    """
    config: ExamplesConfig = data  # type: ignore[assignment]
    examples: Examples = find("data", config.name).examples(config)
    parts = make_parts(examples, config.name, config.val_fraction, config.test_fraction, seed)
    _check_targets(examples, parts.train, config.name)
    is_text = examples.kind in ("texts", "pairs")
    if is_text and tokenizer is None:
        raise DataError(
            f"data '{data.name}' is text and needs a tokenizer, such as tokenizer: {{name: bpe, vocab_size: 2048}}"
        )
    used = tokenizer if is_text else None
    key = _key(examples, config, used, seed, parts)
    source = _Source(examples, parts, config.name, key, used, getattr(config, "max_seq_len", 0))
    encoded = {"table": _table, "images": _images, "texts": _texts, "pairs": _pairs}[examples.kind](source)
    test = None if parts.test is None else encoded.make_part(parts.test)
    return PreparedData(
        train=encoded.make_part(parts.train),
        val=test if test is not None and parts.val is parts.test else encoded.make_part(parts.val),
        test=test,
        encoder=encoded.encoder,
        fingerprint=hashlib.sha256(json.dumps([key, *encoded.identity]).encode()).hexdigest(),
        references=examples.references,
        notes=(*examples.notes, *parts.notes, *encoded.notes),
    )


def _key(
    examples: Examples, config: ExamplesConfig, tokenizer: RegisteredConfig | None, seed: int, parts: Parts
) -> str:
    described = None if tokenizer is None else tokenizer.model_dump(mode="json")
    everything = [FORMAT, examples.fingerprint, config.val_fraction, config.test_fraction, described, seed]
    everything += [parts.grouped] if parts.grouped else []
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()


def _check_targets(examples: Examples, train: np.ndarray, name: str) -> None:
    """Make sure that there is something to learn: two classes or more, each in training, or finite numbers."""
    if examples.targets is None or examples.kind == "pairs":
        return
    if isinstance(examples.targets, (list, tuple)):
        what = "images" if examples.kind == "images" else "rows of numbers"
        raise DataError(
            f"data '{name}': its targets are texts, and its inputs {what}; texts are predicted of texts alone: use "
            "a task and data.target_kind of classes or numbers"
        )
    targets = np.asarray(examples.targets)
    if not examples.class_names:
        wrong = np.flatnonzero(~np.isfinite(targets))
        if len(wrong):
            raise DataError(f"data '{name}': the target of sample {wrong[0]} (from 0) is {targets[wrong[0]]}")
        return
    counts = np.bincount(targets, minlength=len(examples.class_names))
    if len(counts) == 1:
        raise DataError(f"data '{name}': every sample is of class '{examples.class_names[0]}': nothing to tell apart")
    missing = np.flatnonzero(np.bincount(targets[train], minlength=len(counts)) == 0)
    if len(missing):
        label = examples.class_names[missing[0]]
        raise DataError(
            f"data '{name}': no training sample is of class '{label}' ({counts[missing[0]]} in all): a model can't "
            "learn it; add samples or leave the class out"
        )


def _targets(source: _Source) -> tuple[np.ndarray | None, np.ndarray | None, dict[str, Any]]:
    """Return what batches hold as targets, the class of each sample, and the encoder's fields of targets."""
    examples = source.examples
    if examples.targets is None:
        return None, None, {}
    if examples.class_names:
        labels = np.asarray(examples.targets, dtype=np.int64)
        return labels, labels, {"class_names": tuple(examples.class_names)}
    numbers = np.asarray(examples.targets, dtype=np.float64)
    mean, std = _mean_and_std(numbers[source.parts.train, None])
    standardised = ((numbers - mean[0]) / std[0]).astype(np.float32)
    return standardised, None, {"target_mean": float(mean[0]), "target_std": float(std[0])}


def _mean_and_std(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each column's mean and population standard deviation, 1 where all its numbers are equal: (F,) float64."""
    rows = np.asarray(rows, dtype=np.float64)
    std = rows.std(0)
    std[rows.min(0) == rows.max(0)] = 1.0  # rounding may leave it just above 0
    return rows.mean(0), std


def _table(source: _Source) -> _Encoded:
    from hvdtrain.data.example_sets import ArrayDataset

    rows: np.ndarray = source.examples.inputs  # type: ignore[assignment]
    names = source.examples.feature_names
    wrong = np.argwhere(~np.isfinite(rows))
    if len(wrong):
        row, column = wrong[0].tolist()
        called = f"column '{names[column]}'" if names else f"column {column} (from 0)"
        more = f", and {len(wrong) - 1} more such numbers" if len(wrong) > 1 else ""
        raise DataError(
            f"data '{source.name}': {called} of sample {row} (from 0) is {rows[row, column]}{more}: "
            "fill them in or leave those samples out"
        )
    targets, labels, fields = _targets(source)
    mean, std = _mean_and_std(rows[source.parts.train])
    encoder = TableEncoder(feature_names=tuple(names), mean=mean, std=std, **fields)
    shards = source.examples.shards
    return _Encoded(encoder, lambda part: ArrayDataset(rows, encoder, part, targets, labels, shards))


def _images(source: _Source) -> _Encoded:
    from hvdtrain.data.example_sets import ArrayDataset

    images: np.ndarray = source.examples.inputs  # type: ignore[assignment]
    targets, labels, fields = _targets(source)
    facts = cache.ensure(source.entry, lambda folder: _channels(images, source.parts.train))
    mean, std = np.array(facts["mean"]), np.array(facts["std"])
    encoder = ImageEncoder(shape=tuple(images.shape[1:]), mean=mean, std=std, **fields)
    shards = source.examples.shards
    return _Encoded(encoder, lambda part: ArrayDataset(images, encoder, part, targets, labels, shards))


def _channels(images: np.ndarray, train: np.ndarray) -> dict[str, list[float]]:
    """Return mean and standard deviation of each channel, of numbers from 0 to 1, over at most 10,000 images."""
    chosen = train[np.sort(permutation(len(train), IMAGES)[:SAMPLED_IMAGES])]
    total = np.zeros(images.shape[1], dtype=np.int64)
    squares = np.zeros_like(total)
    for begin in range(0, len(chosen), IMAGES_AT_ONCE):
        block = np.asarray(images[chosen[begin : begin + IMAGES_AT_ONCE]]).astype(np.int64)
        total += block.sum((0, 2, 3))
        squares += (block * block).sum((0, 2, 3))
    count = len(chosen) * int(np.prod(images.shape[2:]))
    mean = total / count
    std = np.sqrt((squares * count - total * total) / count**2)  # whole numbers: nothing cancels
    std[std == 0] = 255.0
    return {"mean": (mean / 255).tolist(), "std": (std / 255).tolist()}


def _texts(source: _Source) -> _Encoded:
    from hvdtrain.data.example_sets import TextDataset

    texts: Sequence[str] = source.examples.inputs  # type: ignore[assignment]
    tokenizer, (rows,), identity = _tokenised(source, {"inputs": texts})
    targets, labels, fields = _targets(source)
    length, shards = source.max_seq_len, source.examples.shards
    encoder = TextEncoder(tokenizer=tokenizer, max_seq_len=length, **fields)
    notes = _cut_note("texts", rows, source)
    return _Encoded(
        encoder, lambda part: TextDataset(rows, length, part, targets, labels, shards), (*identity, str(length)), notes
    )


def _pairs(source: _Source) -> _Encoded:
    from hvdtrain.data.example_sets import PairDataset

    examples = source.examples
    both: dict[str, Sequence[str]] = {"inputs": examples.inputs, "targets": examples.targets}  # type: ignore[dict-item]
    tokenizer, (sources, targets), identity = _tokenised(source, both)
    length = source.max_seq_len
    encoder = PairEncoder(tokenizer=tokenizer, max_seq_len=length)
    notes = (*_cut_note("source texts", sources, source), *_cut_note("target texts", targets, source))
    return _Encoded(
        encoder,
        lambda part: PairDataset(sources, targets, length, part, examples.shards),
        (*identity, str(length)),
        notes,
    )


def _tokenised(source: _Source, texts: dict[str, Sequence[str]]) -> tuple[Tokenizer, list[TokenRows], tuple[str, ...]]:
    """Return the tokenizer, trained on the training part alone, the tokens of all texts, and what identifies both."""
    config = source.tokenizer
    assert config is not None

    def build(folder: Path) -> dict[str, Any]:
        training = (kind[row] for kind in texts.values() for row in source.parts.train.tolist())
        tokenizer: Tokenizer = find("tokenizers", config.name).train(config, training)
        tokenizer.save(folder / "tokenizer.json")
        for name, kind in texts.items():
            write_rows(kind, tokenizer, folder, name)
        hashes = [cache.sha256(folder / f"{name}.{end}") for name in texts for end in ("bin", "npy")]
        return {"identity": [tokenizer.fingerprint, *hashes]}

    facts = cache.ensure(source.entry, build)
    tokenizer = load_tokenizer(source.entry / "tokenizer.json")
    rows = [read_rows(tokenizer, source.entry, name) for name in texts]
    return tokenizer, rows, tuple(facts["identity"])


def _cut_note(what: str, rows: TokenRows, source: _Source) -> tuple[str, ...]:
    lengths = rows.whole_lengths(source.parts.train)
    cut = int((lengths >= source.max_seq_len).sum())  # the end of text needs a place too
    if not cut:
        return ()
    many = f"{cut} of {len(lengths)} training {what}"
    return (f"{many} have more than data.max_seq_len = {source.max_seq_len} tokens and lose their end",)
