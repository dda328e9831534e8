"""Samples made ready: what is fitted, on what, what the fingerprint follows, and data that can't be learned from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hvdtrain import registry
from hvdtrain.data import encoders, prepare_examples
from hvdtrain.data._config import ExamplesConfig, TextExamplesConfig
from hvdtrain.data.examples import TEST, TRAIN, VAL, Examples
from hvdtrain.data.prepared import Dataset, PreparedData
from hvdtrain.data.tokenizers import bpe
from hvdtrain.data.tokenizers import bytes as byte_tokenizer
from hvdtrain.errors import DataError
from hvdtrain.registry import RegisteredConfig

BYTES = byte_tokenizer.Config()
BPE = bpe.Config(vocab_size=300)
SOURCE = np.random.default_rng(5)
ROWS = np.arange(30.0)[:, None]


class Sources:
    """Stands in for the registry's data sources: one source, whose examples a test sets."""

    examples: Examples

    def find(self, kind: str, name: str) -> Any:
        return SimpleNamespace(examples=lambda config: self.examples) if kind == "data" else registry.find(kind, name)


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch, empty_cache: Path) -> Sources:
    made = Sources()
    monkeypatch.setattr(prepare_examples, "find", made.find)
    return made


def prepared(
    sources: Sources, examples: Examples, tokenizer: RegisteredConfig | None = None, seed: int = 1, **options: Any
) -> PreparedData:
    sources.examples = examples
    config = TextExamplesConfig if examples.kind in ("texts", "pairs") else ExamplesConfig
    return prepare_examples.prepare_examples(config(name="fake", **options), tokenizer, seed)


def whole(dataset: Dataset | None) -> dict[str, torch.Tensor]:
    assert dataset is not None
    return dataset.batch(np.arange(len(dataset)))


def texts(count: int = 60) -> list[str]:
    words = ["tree", "house", "river", "naïve", "stone", "mountain"]
    return [
        " ".join(words[(number * k) % 6] for k in range(1, 2 + number % 7)) + f" {number}" for number in range(count)
    ]


def labelled(inputs: Any, classes: int = 2, **changes: Any) -> Examples:
    targets = np.arange(len(inputs)) % classes
    names = tuple(f"class {label}" for label in range(classes))
    return Examples(inputs, targets, "f", **({"class_names": names} | changes))


def test_rows_are_standardised_by_the_training_part_alone(sources: Sources) -> None:
    from sklearn.preprocessing import StandardScaler

    rows = SOURCE.normal(3.0, 5.0, size=(50, 3))
    rows[:, 1] = 0.1  # the standard deviation of equal numbers may come out just above 0
    rows[40:] += 1000.0
    parts = np.array([TRAIN] * 40 + [VAL] * 5 + [TEST] * 5, dtype=np.int8)
    data = prepared(sources, labelled(rows, parts=parts, feature_names=("a", "b", "c")))
    scaler = StandardScaler().fit(rows[:40])
    for part, chosen in ((data.train, slice(0, 40)), (data.val, slice(40, 45)), (data.test, slice(45, 50))):
        torch.testing.assert_close(whole(part)["inputs"], torch.from_numpy(scaler.transform(rows[chosen])).float())
        assert whole(part)["targets"].tolist() == (np.arange(50) % 2)[chosen].tolist()
    assert isinstance(data.encoder, encoders.TableEncoder)
    assert data.encoder.std[1] == 1.0
    assert data.encoder.class_names == ("class 0", "class 1")
    assert data.encoder.feature_names == ("a", "b", "c")


def test_numbers_to_predict_are_standardised_by_the_training_part(sources: Sources) -> None:
    targets = SOURCE.normal(-7.0, 3.0, size=30)
    parts = np.array([TRAIN] * 20 + [VAL] * 5 + [TEST] * 5, dtype=np.int8)
    data = prepared(sources, Examples(SOURCE.normal(size=(30, 2)), targets, "f", parts=parts))
    mean, std = targets[:20].mean(), targets[:20].std()
    assert data.encoder.target_mean == pytest.approx(mean, rel=1e-12)
    assert data.encoder.target_std == pytest.approx(std, rel=1e-12)
    found = whole(data.test)["targets"]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), (targets[25:] - mean) / std, rtol=1e-6)
    assert data.train.labels is None


def test_a_target_that_never_changes_is_no_division_by_zero(sources: Sources) -> None:
    data = prepared(sources, Examples(SOURCE.normal(size=(30, 2)), np.full(30, 0.1), "f"))
    assert data.encoder.target_std == 1.0
    assert whole(data.train)["targets"].abs().max() < 1e-6


def test_images_are_standardised_by_the_training_part(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_examples, "IMAGES_AT_ONCE", 7)
    images = SOURCE.integers(256, size=(40, 2, 3, 5), dtype=np.uint8)
    images[:30, 1] = 9
    parts = np.array([TRAIN] * 30 + [VAL] * 5 + [TEST] * 5, dtype=np.int8)
    data = prepared(sources, labelled(images, parts=parts))
    assert isinstance(data.encoder, encoders.ImageEncoder)
    assert data.encoder.shape == (2, 3, 5)
    pixels = images[:30].astype(np.float64) / 255
    np.testing.assert_allclose(data.encoder.mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(data.encoder.std, [pixels[:, 0].std(), 1.0], rtol=1e-12)
    batch = whole(data.train)
    assert batch["inputs"].shape == (30, 2, 3, 5)
    assert batch["inputs"][:, 0].std(correction=0).item() == pytest.approx(1.0, rel=1e-5)
    assert batch["inputs"][:, 1].abs().max() < 1e-6


class Images:
    """Images on demand, which count how many were read."""

    shape = (200, 1, 2, 2)

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        self.read += indices.tolist()
        return np.broadcast_to(indices.astype(np.uint8)[:, None, None, None], (len(indices), 1, 2, 2))


def test_of_many_images_a_sample_of_the_training_part_is_read_once(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_examples, "SAMPLED_IMAGES", 20)
    images = Images()
    parts = np.array([TRAIN] * 150 + [VAL] * 25 + [TEST] * 25, dtype=np.int8)
    first = prepared(sources, labelled(images, parts=parts))
    assert len(set(images.read)) == len(images.read) == 20
    assert max(images.read) < 150
    assert np.ptp(images.read) > 75  # not the first 20
    again = prepared(sources, labelled(images, parts=parts))
    assert len(images.read) == 20
    assert again.encoder.state() == first.encoder.state()


@pytest.mark.parametrize("tokenizer", [BYTES, BPE], ids=["bytes", "bpe"])
def test_every_text_is_in_one_part_and_whole(sources: Sources, tokenizer: RegisteredConfig) -> None:
    originals = texts()
    data = prepared(sources, labelled(originals), tokenizer, max_seq_len=200)
    found: dict[str, int] = {}
    for part in (data.train, data.val, data.test):
        batch = whole(part)
        for row, label in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
            end = row.index(data.encoder.tokenizer.eos_id)
            found[data.encoder.tokenizer.decode(row[:end])] = label
            assert set(row[end:]) == {data.encoder.tokenizer.eos_id}
    assert found == {text: number % 2 for number, text in enumerate(originals)}
    assert [len(part) for part in (data.train, data.val, data.test)] == [42, 6, 12]
    assert data.train.labels.tolist() == whole(data.train)["targets"].tolist()
    assert data.notes == ()


def test_a_part_holds_what_the_encoder_makes_of_its_texts(sources: Sources) -> None:
    originals = texts()
    parts = np.array([TRAIN] * 40 + [VAL] * 10 + [TEST] * 10, dtype=np.int8)
    data = prepared(sources, labelled(originals, parts=parts), BPE, max_seq_len=6)
    assert torch.equal(whole(data.val)["inputs"], torch.from_numpy(data.encoder.encode(originals[40:50])["inputs"]))
    cut = sum(len(data.encoder.tokenizer.encode(text)) > 5 for text in originals[:40])
    assert 0 < cut < 40
    assert data.notes == (f"{cut} of 40 training texts have more than data.max_seq_len = 6 tokens and lose their end",)


def test_the_tokenizer_learns_from_training_texts_alone(sources: Sources) -> None:
    originals = texts()
    parts = np.array([TRAIN] * 30 + [VAL] * 15 + [TEST] * 15, dtype=np.int8)
    data = prepared(sources, labelled(originals, parts=parts), BPE)
    assert data.encoder.tokenizer.fingerprint == bpe.train(BPE, iter(originals[:30])).fingerprint
    assert data.encoder.tokenizer.fingerprint != bpe.train(BPE, iter(originals)).fingerprint


def test_pairs_share_a_tokenizer_that_learns_from_both_sides(sources: Sources) -> None:
    one, other = texts(), [text.upper() for text in texts()]
    parts = np.array([TRAIN] * 40 + [VAL] * 10 + [TEST] * 10, dtype=np.int8)
    data = prepared(sources, Examples(one, other, "f", parts=parts, shards=np.arange(60)), BPE, max_seq_len=50)
    tokenizer = data.encoder.tokenizer
    assert tokenizer.fingerprint == bpe.train(BPE, iter(one[:40] + other[:40])).fingerprint
    assert isinstance(data.encoder, encoders.PairEncoder)
    batch = whole(data.val)
    assert torch.equal(batch["source"], torch.from_numpy(data.encoder.encode(one[40:50])["source"]))
    assert data.train.targets == sum(len(tokenizer.encode(text)) + 1 for text in other[:40])
    assert data.val.shards.tolist() == [*range(40, 50)]
    for row, text in zip(batch["targets"], other[40:50], strict=True):
        assert tokenizer.decode(row[row >= 0][:-1].tolist()) == text
        assert row[row >= 0][-1] == tokenizer.eos_id


def test_texts_are_tokenised_once(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared(sources, labelled(texts()), BPE)
    monkeypatch.setattr(prepare_examples, "write_rows", None)
    again = prepared(sources, labelled(texts()), BPE, max_seq_len=50)  # the files do not depend on it, but samples do
    assert torch.equal(whole(again.test)["inputs"], whole(first.test)["inputs"])
    assert again.fingerprint != first.fingerprint


def test_the_fingerprint_follows_everything_that_changes_samples(sources: Sources) -> None:
    same = [prepared(sources, labelled(texts()), BYTES) for _ in range(2)]
    assert same[0].fingerprint == same[1].fingerprint
    others = [
        prepared(sources, labelled(texts()), BYTES, seed=2),
        prepared(sources, labelled(texts()), BPE),
        prepared(sources, labelled(texts()), BYTES, val_fraction=0.2),
        prepared(sources, labelled(texts()), BYTES, test_fraction=0.3),
        prepared(sources, labelled(texts()), BYTES, max_seq_len=10),
        prepared(sources, Examples(texts(), None, "another"), BYTES),
    ]
    assert len({data.fingerprint for data in [same[0], *others]}) == 1 + len(others)


def test_the_fingerprint_follows_the_rows_that_are_kept_together(sources: Sources) -> None:
    """Earlier versions parted such rows otherwise, and their checkpoints must not go on with these parts."""
    rows = SOURCE.normal(size=(40, 2))
    plain, repeating = rows.copy(), rows.copy()
    repeating[20:25] = repeating[:5]
    prints = [prepared(sources, labelled(inputs)).fingerprint for inputs in (plain, repeating)]
    assert prints[0] == PLAIN, "without such rows it is that of earlier versions"
    assert prints[0] != prints[1]


PLAIN = "96ce9bd63913b0f1e7e3621a059a9cadf7bf478accfe28991072e39124187624"


def test_a_tokenizer_is_nothing_to_a_table(sources: Sources) -> None:
    rows = SOURCE.normal(size=(30, 2))
    with_one, without = (prepared(sources, labelled(rows), tokenizer) for tokenizer in (BYTES, None))
    assert with_one.fingerprint == without.fingerprint
    assert with_one.encoder.tokenizer is None


def test_marks_and_notes_of_the_source_are_passed_on(sources: Sources) -> None:
    references = {"accuracy": {"best that the noise allows": 0.95}}
    data = prepared(sources, labelled(ROWS, references=references, notes=("a note",)), val_fraction=0.0)
    assert data.references == references
    assert data.notes[0] == "a note"
    assert "validation is on the test part" in data.notes[1]


def holed(row: int, column: int, value: float) -> np.ndarray:
    rows = np.ones((30, 3))
    rows[row, column] = value
    return rows


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (labelled(holed(17, 2, np.nan), feature_names=("a", "b", "c")), r"column 'c' of sample 17 \(from 0\) is nan"),
        (labelled(holed(0, 1, -np.inf)), r"column 1 \(from 0\) of sample 0 \(from 0\) is -inf: fill them in"),
        (Examples(np.ones((30, 1)), np.r_[np.zeros(29), np.inf], "f"), r"the target of sample 29 \(from 0\) is inf"),
        (labelled(np.ones((30, 1)), classes=1), r"every sample is of class 'class 0'"),
        (labelled(np.ones((30, 1)), class_names=("a", "b", "c")), r"no training sample is of class 'c' \(0 in all\)"),
        (
            labelled(np.ones((30, 1)), parts=np.array([TRAIN, TEST] * 15, np.int8)),
            r"no training sample is of class 'class 1' \(15 in all\)",
        ),
        (labelled([]), "has no samples"),
        (labelled(texts()), r"is text and needs a tokenizer, such as tokenizer: \{name: bpe"),
    ],
)
def test_data_that_cannot_be_learned_from_is_explained(sources: Sources, examples: Examples, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepared(sources, examples)


@pytest.mark.parametrize(("val_fraction", "of_val"), [(0.0, True), (0.2, False)])
def test_marks_of_the_test_part_are_not_held_against_another_one(
    sources: Sources, val_fraction: float, of_val: bool
) -> None:
    references = {"accuracy": {"best": 0.9}}
    data = prepared(sources, labelled(np.ones((30, 1)), references=references), val_fraction=val_fraction)
    assert data.references_of("test") == references
    assert data.references_of("val") == (references if of_val else {})
    assert data.references_of("train") == {}
