"""Preparation: what is in the token files, what they are keyed by, and bad files."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hvdtrain.data.partitions import shard
from hvdtrain.data.prepare import PreparedData, prepare
from hvdtrain.data.sources import text
from hvdtrain.data.tokenizers import bpe
from hvdtrain.data.tokenizers import bytes as byte_tokenizer
from hvdtrain.errors import DataError
from hvdtrain.registry import RegisteredConfig

BYTES = byte_tokenizer.Config()
BPE = bpe.Config(vocab_size=300)


@pytest.fixture
def folder(tmp_path: Path, empty_cache: Path) -> Path:
    """Thirty documents, each with a word of its own."""
    for number in range(30):
        word = "abcdefghij"[number // 10] + "klmnopqrst"[number % 10]
        line = f"{word * 3} the day and the night, é {word}\n"
        (tmp_path / f"{number:02}.txt").write_text(line * (3 + number % 4))
    return tmp_path


def config(folder: Path, **changes: object) -> text.Config:
    options: dict[str, object] = {"paths": [str(folder)], "max_seq_len": 8, "val_fraction": 0.2} | changes
    return text.Config.model_validate(options)


def stream(data: PreparedData, part: str) -> list[int]:
    """The part's tokens, put together again from its sequences."""
    dataset = getattr(data, part)
    batch = dataset.batch(np.arange(len(dataset)))
    return [int(batch["inputs"][0, 0]), *batch["targets"][batch["targets"] >= 0].tolist()]


def texts(data: PreparedData, part: str) -> list[str]:
    """The part's documents, decoded."""
    documents: list[list[int]] = [[]]
    for token in stream(data, part):
        documents[-1].append(token)
        if token == data.encoder.tokenizer.eos_id:
            documents.append([])
    assert documents.pop() == []
    return [data.encoder.tokenizer.decode(ids[:-1]) for ids in documents]


@pytest.mark.parametrize("tokenizer", [BYTES, BPE], ids=["bytes", "bpe"])
def test_every_document_is_on_one_side_whole_and_exact(tokenizer: RegisteredConfig, folder: Path) -> None:
    data = prepare(config(folder), tokenizer, 1)
    originals = [path.read_text() for path in sorted(folder.glob("*.txt"))]
    train, val = texts(data, "train"), texts(data, "val")
    assert not set(train) & set(val)
    assert sorted(train + val) == sorted(originals)
    assert train == [original for original in originals if original in train]
    total = sum(len(original.encode()) for original in originals)
    assert sum(len(one.encode()) for one in val) == pytest.approx(0.2 * total, rel=0.2)
    assert data.encoder.tokenizer.token_bytes()[stream(data, "train") + stream(data, "val")].sum() == total
    assert data.notes == ()


def test_the_tokenizer_learns_from_training_text_alone(folder: Path) -> None:
    data = prepare(config(folder), BPE, 1)
    alone = bpe.train(BPE, iter(texts(data, "train")))
    assert data.encoder.tokenizer.fingerprint == alone.fingerprint
    assert (
        data.encoder.tokenizer.fingerprint
        != bpe.train(BPE, iter(texts(data, "train") + texts(data, "val"))).fingerprint
    )


@pytest.mark.parametrize("tokenizer", [BYTES, BPE], ids=["bytes", "bpe"])
def test_the_unigram_loss_is_that_of_add_one_smoothed_counts(tokenizer: RegisteredConfig, folder: Path) -> None:
    data = prepare(config(folder), tokenizer, 1)
    counts = Counter(stream(data, "train"))
    total = sum(counts.values()) + data.encoder.tokenizer.vocab_size
    targets = stream(data, "val")[1:]
    losses = [-math.log((counts[token] + 1) / total) for token in targets]
    assert data.references["loss"]["unigram baseline"] == pytest.approx(math.fsum(losses) / len(losses), rel=1e-12)


def test_a_second_call_reads_what_the_first_wrote(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(config(folder), BPE, 1)
    monkeypatch.setattr("hvdtrain.data.prepare.write_tokens", None)
    second = prepare(config(folder, max_seq_len=5), BPE, 1)  # the length of sequences is no part of the key
    assert second.fingerprint == first.fingerprint
    assert second.references == first.references
    assert stream(second, "train") == stream(first, "train")


def test_a_sequence_is_of_the_document_of_its_first_token(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvdtrain.data.tokenise.BATCH", 50)  # documents end within batches and between them
    for length in (8, 1):  # built, then read
        data = prepare(config(folder, max_seq_len=length), BPE, 1).train
        tokens = np.array(stream(prepare(config(folder, max_seq_len=length), BPE, 1), "train"))
        ended = np.cumsum(tokens == data.batch(np.array([len(data) - 1]))["targets"].max().item())
        assert data.shards is not None
        assert len(set(data.shards.tolist())) > 20
        assert data.shards.tolist() == [int(ended[at - 1]) if at else 0 for at in range(0, len(data) * length, length)]


def test_documents_can_be_dealt_whole(folder: Path) -> None:
    data = prepare(config(folder), BYTES, 1).train
    parts = shard.build(shard.Config(), data, 1, 2).indices
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(data)))
    assert not set(data.shards[parts[0]]) & set(data.shards[parts[1]])  # type: ignore[index]


def test_the_format_of_the_files_is_no_part_of_the_fingerprint(
    folder: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint goes on after an update that keeps more in the cache, and old entries are not taken for new ones."""
    first = prepare(config(folder), BYTES, 1)
    monkeypatch.setattr("hvdtrain.data.prepare.FORMAT", 1000)
    assert prepare(config(folder), BYTES, 1).fingerprint == first.fingerprint
    assert len([path for path in (empty_cache / "prepared").iterdir() if path.is_dir()]) == 2


def test_the_fingerprint_follows_everything_that_changes_tokens(folder: Path) -> None:
    prints = [
        prepare(config(folder), BYTES, 1),
        prepare(config(folder), BYTES, 2),
        prepare(config(folder), BPE, 1),
        prepare(config(folder, val_fraction=0.3), BYTES, 1),
        prepare(config(folder, encoding="latin-1"), BYTES, 1),
        prepare(config(folder, paths=[str(folder / "[01]*.txt")]), BYTES, 1),
    ]
    (folder / "00.txt").write_text("changed\n")
    prints.append(prepare(config(folder), BYTES, 1))
    assert len({data.fingerprint for data in prints}) == len(prints)


def test_content_counts_not_its_place(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for path in folder.glob("*.txt"):
        (elsewhere / path.name).write_bytes(path.read_bytes())
    assert prepare(config(folder), BYTES, 1).fingerprint == prepare(config(elsewhere), BYTES, 1).fingerprint


@pytest.mark.parametrize("name", ["train.bin", "train.npy", "val.bin", "tokenizer.json"])
def test_a_damaged_cache_is_built_again(name: str, folder: Path, empty_cache: Path) -> None:
    first = prepare(config(folder), BPE, 1)
    expected = stream(first, "train"), stream(first, "val")
    (entry,) = (path for path in (empty_cache / "prepared").iterdir() if path.is_dir())
    content = bytearray((entry / name).read_bytes())
    content[len(content) // 2] ^= 1
    (entry / name).write_bytes(content)
    again = prepare(config(folder), BPE, 1)
    assert (stream(again, "train"), stream(again, "val")) == expected
    assert again.fingerprint == first.fingerprint


def test_wide_vocabularies_take_wider_tokens() -> None:
    from hvdtrain.data.tokenise import token_type

    assert [token_type(size).itemsize for size in (257, 65_536, 65_537)] == [2, 2, 4]


def test_batches_of_text_do_not_change_tokens(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stream(prepare(config(folder), BPE, 1), "train")
    monkeypatch.setattr("hvdtrain.data.tokenise.BATCH", 50)
    monkeypatch.setenv("HVDTRAIN_CACHE", os.environ["HVDTRAIN_CACHE"] + "-2")
    assert stream(prepare(config(folder), BPE, 1), "train") == whole


def test_copies_and_empty_files_are_left_out_and_noted(folder: Path) -> None:
    plain = prepare(config(folder), BYTES, 1)
    (folder / "99.txt").write_text((folder / "00.txt").read_text())
    (folder / "98.txt").write_text("")
    data = prepare(config(folder), BYTES, 1)
    assert data.fingerprint == plain.fingerprint
    assert data.notes == (
        "left out 1 document without text",
        "left out 1 document with the same content as another",
    )


def test_a_single_document_is_split_at_its_tail_and_says_so(folder: Path) -> None:
    for _ in range(2):  # built, then read
        data = prepare(config(folder, paths=[str(folder / "03.txt")]), BYTES, 1)
        (note,) = data.notes
        assert "03.txt, because it is the only document" in note
        assert texts(data, "train")[0] + texts(data, "val")[0] == (folder / "03.txt").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"max_seq_len": 5000},
            r"the training part has \d+ tokens, and one sequence takes 5001: give more text, or set",
        ),
        (
            {"max_seq_len": 2000},
            r"the validation part has \d+ tokens, .* or a larger data.val_fraction, or set data.max_seq_len=",
        ),
    ],
)
def test_a_part_without_one_sequence_is_refused(changes: dict[str, object], message: str, folder: Path) -> None:
    with pytest.raises(DataError, match=message):
        prepare(config(folder, **changes), BYTES, 1)


def test_the_length_that_the_message_names_works(folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare(config(folder, max_seq_len=2000), BYTES, 1)
    length = int(str(caught.value).partition("data.max_seq_len=")[2].split()[0])
    assert len(prepare(config(folder, max_seq_len=length), BYTES, 1).val) == 1
    with pytest.raises(DataError):
        prepare(config(folder, max_seq_len=length + 1), BYTES, 1)


def test_nothing_but_empty_files_is_refused(tmp_path: Path, empty_cache: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"data 'text' has no text: 1 document, all empty"):
        prepare(config(tmp_path), BYTES, 1)


def test_text_in_another_encoding_leaves_no_entry(folder: Path, empty_cache: Path) -> None:
    (folder / "00.txt").write_bytes("é".encode("latin-1") * 50)
    with pytest.raises(DataError, match=r"00.txt is not utf-8: byte 0"):
        prepare(config(folder), BYTES, 1)
    assert not [path for path in (empty_cache / "prepared").iterdir() if path.is_dir()]


def test_a_missing_tokenizer_is_explained(folder: Path) -> None:
    with pytest.raises(DataError, match=r"needs a tokenizer, such as tokenizer: \{name: bpe"):
        prepare(config(folder), None, 1)


def test_a_file_that_changes_meanwhile_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*arguments: object) -> object:
        (folder / "00.txt").write_text("other\n")
        return byte_tokenizer.ByteTokenizer()

    monkeypatch.setattr(byte_tokenizer, "train", train)
    with pytest.raises(DataError, match=r"00.txt changed while it was read"):
        prepare(config(folder), BYTES, 1)
