"""What `hvdtrain predict` reads: files of texts, tables and images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hvdtrain.data.encoders import CorpusEncoder, ImageEncoder, TableEncoder, TextEncoder
from hvdtrain.data.inputs import read_inputs
from hvdtrain.errors import DataError

TEXTS = TextEncoder(max_seq_len=8)
TABLE = TableEncoder(feature_names=("size", "rooms"), mean=np.zeros(2), std=np.ones(2))
IMAGES = ImageEncoder(shape=(1, 2, 3))


def wrote(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def raw(encoder, path: Path, column: str | None = None) -> list:
    return [value for _, value in read_inputs(encoder, [path], column)]


def test_each_line_of_a_text_file_is_a_text(tmp_path: Path) -> None:
    path = wrote(tmp_path / "a.txt", "one\r\n\ntwo é\n")
    found = list(read_inputs(TEXTS, [path]))
    assert [value for _, value in found] == ["one", "", "two é"]
    assert [name for name, _ in found][2] == {"file": str(path), "line": 3, "input": "two é"}


def test_texts_come_from_a_column(tmp_path: Path) -> None:
    lines = wrote(tmp_path / "a.jsonl", '{"text": "one", "x": 1}\n\n{"text": "two"}\n')
    table = wrote(tmp_path / "a.csv", 'n,review\n1,"says ""no"",\ntwice"\n2,yes\n')
    assert raw(TEXTS, lines) == ["one", "two"]
    assert raw(TEXTS, table, "review") == ['says "no",\ntwice', "yes"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_rows_have_the_columns_of_training_in_its_order(tmp_path: Path, suffix: str) -> None:
    content = "rooms,name,size\n3,x,70.5\n" if suffix == "csv" else '{"rooms": 3, "name": "x", "size": 70.5}\n'
    assert raw(TABLE, wrote(tmp_path / f"a.{suffix}", content)) == [[70.5, 3.0]]


def test_images_are_converted_and_resized(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    Image.fromarray(pixels).save(tmp_path / "b.png")
    Image.fromarray(np.full((4, 6, 3), 255, dtype=np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no image")
    colour, grey = raw(IMAGES, tmp_path)
    assert np.array_equal(grey, pixels[None])
    assert colour.shape == (1, 2, 3)
    assert (colour == 255).all()
    [three] = raw(ImageEncoder(shape=(3, 2, 3)), tmp_path / "b.png")
    assert np.array_equal(three, np.stack([pixels] * 3))


@pytest.mark.parametrize(
    ("encoder", "name", "content", "message"),
    [
        (TEXTS, "a.txt", b"good\n\xff\n", r"a\.txt is not UTF-8"),
        (TEXTS, "a.jsonl", '{"text": "x"}\n{"text"\n', r"a\.jsonl:2: not JSON"),
        (TEXTS, "a.jsonl", '["x"]\n', r"a\.jsonl:1: expected a JSON object, not list"),
        (TEXTS, "a.jsonl", '{"body": "x"}\n', r"a\.jsonl:1: no value for 'text'; it has body"),
        (TEXTS, "a.jsonl", '{"text": 3}\n', r"a\.jsonl:1: text is 3; expected a text"),
        (TEXTS, "a.csv", "text\nx\nx,y\n", r"a\.csv:3: 1 fields more than the header's 1"),
        (TABLE, "a.csv", "size,rooms\n1,2\n3\n", r"a\.csv:3: no value for 'rooms'"),
        (TABLE, "a.csv", "size,rooms\n1,two\n", r"a\.csv:2: rooms is 'two'; expected a finite number"),
        (TABLE, "a.csv", "size,rooms\n1,nan\n", r"a\.csv:2: rooms is 'nan'; expected a finite number"),
        (TABLE, "a.csv", 'size,rooms\n1,"2\n', r"a\.csv:\d: not CSV"),
        (TABLE, "a.jsonl", '{"size": 1}\n', r"a\.jsonl:1: no value for 'rooms'; it has size"),
        (IMAGES, "a.png", b"no image", r"a\.png can't be read as an image"),
        (CorpusEncoder(), "a.txt", "x", "a model of corpus reads no files"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(tmp_path: Path, encoder, name, content, message: str) -> None:
    path = wrote(tmp_path / name, content)
    with pytest.raises(DataError, match=message):
        raw(encoder, path)


def test_a_file_or_image_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.txt does not exist \(relative paths start at"):
        raw(TEXTS, tmp_path / "nowhere.txt")
    with pytest.raises(DataError, match=r"holds no image \(\.png"):
        raw(IMAGES, tmp_path)


def test_rows_before_a_bad_one_are_still_read(tmp_path: Path) -> None:
    path = wrote(tmp_path / "a.jsonl", "\n".join([json.dumps({"text": "x"})] * 3 + ["{"]))
    reading = read_inputs(TEXTS, [path])
    assert [next(reading)[1] for _ in range(3)] == ["x"] * 3
    with pytest.raises(DataError, match=r"a\.jsonl:4"):
        next(reading)
