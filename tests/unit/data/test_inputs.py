"""What `hvdtrain predict` reads: files of texts, tables and images."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from hvdtrain.data.encoders import CorpusEncoder, ImageEncoder, TableEncoder, TextEncoder
from hvdtrain.data.inputs import read_inputs, read_lines
from hvdtrain.errors import DataError
from hvdtrain.registry import RegisteredConfig, config_class

TEXTS = TextEncoder(max_seq_len=8)
TABLE = TableEncoder(feature_names=("size", "rooms"), mean=np.zeros(2), std=np.ones(2))
IMAGES = ImageEncoder(shape=(1, 2, 3))


def wrote(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def raw(encoder, path: Path, column: str | None = None, data: RegisteredConfig | None = None) -> list:
    return [value for _, value in read_inputs(encoder, [path], column, data)]


def trained_on(name: str, **values: object) -> RegisteredConfig:
    return config_class("data", name).model_validate({"name": name, "paths": ["train"]} | values)


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
        (TEXTS, "a.txt", b"good\n\xff\n", r"a\.txt:2: not utf-8 \(byte 5 of the file: .*; convert it first"),
        (TEXTS, "a.csv", b"text\ngood\n\xff\n", r"a\.csv:3: not utf-8 \(byte 10 .*; convert the file"),
        (TEXTS, "a.jsonl", b'{"text": "\xff"}\n', r"a\.jsonl:1: not utf-8"),
        (TABLE, "a.csv", b"size,rooms\n1,\xff\n", r"a\.csv:2: not utf-8"),
        (TEXTS, "a.npz", b"", r"a\.npz holds arrays, and the model reads texts"),
        (TEXTS, "a.jsonl", '{"text": "x"}\n{"text"\n', r"a\.jsonl:2: not JSON"),
        (TEXTS, "a.jsonl", '{"text": "x"}\n["x"]\n', r"a\.jsonl:2: expected a JSON object, and this is \["),
        (TEXTS, "a.jsonl", '["x"]\n', r"a\.jsonl:1: a JSON array is no JSONL"),
        (TEXTS, "a.jsonl", '{"body": "x"}\n', r"a\.jsonl has no column 'text' \(it has body\); --column names"),
        (TEXTS, "a.jsonl", '{"text": "x"}\n{"x": 1}\n', r"a\.jsonl:2: text has no value; expected a text"),
        (TEXTS, "a.jsonl", '{"text": "\\ud800"}\n', r"a\.jsonl:1: text holds half of a character"),
        (TEXTS, "a.jsonl", '{"text": 3}\n', r"a\.jsonl:1: text is 3; expected a text"),
        (TEXTS, "a.csv", "text\nx\nx,y\n", r"a\.csv:3: 2 fields, and the header has 1"),
        (TABLE, "a.csv", "size,rooms\n1,2\n3\n", r"a\.csv:3: 1 field, and the header has 2"),
        (
            TABLE,
            "a.csv",
            "size;rooms\n1;2\n",
            r"if ';' stands between fields, convert the file: those for this model have ',' there",
        ),
        (TABLE, "a.csv", "size,rooms\n1,two\n", r"a\.csv:2: rooms is 'two'; expected a finite number"),
        (TABLE, "a.csv", "size,rooms\n1,nan\n", r"a\.csv:2: rooms is 'nan'; expected a finite number"),
        (TABLE, "a.csv", 'size,rooms\n1,"2\n', r"a\.csv:2: this row is not CSV"),
        (TABLE, "a.csv", "", r"a\.csv is empty"),
        (TABLE, "a.jsonl", '{"size": 1}\n', r"a\.jsonl has no column 'rooms' \(it has size\)"),
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


def test_all_bad_rows_of_a_file_are_listed_before_any_is_read(tmp_path: Path) -> None:
    path = wrote(tmp_path / "a.jsonl", "\n".join([json.dumps({"text": "x"})] * 3 + ["{", '{"text": 3}']))
    with pytest.raises(
        DataError, match=r"2 of 5 rows can't be used:\n.*a\.jsonl:4: not JSON.*\n.*a\.jsonl:5: text is 3"
    ):
        next(read_inputs(TEXTS, [path]))


def test_a_column_of_row_numbers_that_pandas_writes_is_no_obstacle(tmp_path: Path) -> None:
    path = wrote(tmp_path / "a.csv", ",rooms,size\n0,3,70.5\n1,4,80\n")
    assert list(read_inputs(TABLE, [path])) == [
        ({"file": str(path), "line": 2}, [70.5, 3.0]),
        ({"file": str(path), "line": 3}, [80.0, 4.0]),
    ]


def test_csv_is_read_as_it_was_in_training(tmp_path: Path) -> None:
    path = wrote(tmp_path / "a.csv", "größe;satz\n1,5;été\n".encode("cp1252"))
    texts = trained_on("csv", delimiter=";", encoding="cp1252", inputs="satz")
    assert raw(TEXTS, path, data=texts) == ["été"]
    assert raw(TEXTS, path, "größe", texts) == ["1,5"]
    with pytest.raises(DataError, match=r"a\.csv:1: not utf-8"):
        raw(TEXTS, path, "satz")
    headerless = wrote(tmp_path / "b.data", "3\thouse\t70.5\n4\thut\t80\n")
    table = trained_on("csv", delimiter="\t", columns=["rooms", "kind", "size"], target="kind")
    assert raw(TABLE, headerless, data=table) == [[70.5, 3.0], [80.0, 4.0]]


def test_texts_come_from_the_column_of_training_or_one_called_text(tmp_path: Path) -> None:
    data = trained_on("jsonl", inputs="body")
    path = wrote(tmp_path / "a.jsonl", '{"body": "one", "text": "x"}\n{"body": "", "text": "y"}\n')
    assert raw(TEXTS, path, data=data) == ["one", ""]
    assert raw(TEXTS, path, "text", data) == ["x", "y"]
    assert raw(TEXTS, wrote(tmp_path / "b.csv", "text\ntwo\n"), data=data) == ["two"]
    assert raw(TEXTS, wrote(tmp_path / "c.rows", '{"body": "three"}\n'), data=data) == ["three"]
    assert raw(TEXTS, wrote(tmp_path / "d.txt", '{"body": "three"}\n'), data=data) == ['{"body": "three"}']


def test_parquet_is_read_as_it_was_in_training(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"rooms": [3, 4], "size": [70.5, 80], "t": ["one", "two"]}), path)
    assert list(read_inputs(TABLE, [path])) == [
        ({"file": str(path), "row": 1}, [70.5, 3.0]),
        ({"file": str(path), "row": 2}, [80.0, 4.0]),
    ]
    assert raw(TEXTS, path, data=trained_on("parquet", inputs="t")) == ["one", "two"]


def test_arrays_are_rows_or_images(tmp_path: Path) -> None:
    rows, images = np.array([[1.5, 2], [3, 4]]), np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.savez(tmp_path / "rows.npz", x=rows, y=[0, 1])
    np.savez(tmp_path / "images.npz", x=images, y=[0, 1])
    data = trained_on("npz", target="y")
    assert raw(TABLE, tmp_path / "rows.npz", data=data) == rows.tolist()
    assert raw(TABLE, tmp_path / "rows.npz", "x") == rows.tolist()
    found = list(read_inputs(IMAGES, [tmp_path / "images.npz"], data=data))
    assert found[1][0] == {"file": str(tmp_path / "images.npz"), "row": 2}
    assert np.array_equal([image for _, image in found], images[:, None])
    np.savez(tmp_path / "alone.npz", x=rows)  # nothing is known of the targets
    assert raw(TABLE, tmp_path / "alone.npz", data=data) == rows.tolist()
    for encoder, name, column, message in (
        (TABLE, "images.npz", "x", r"has inputs of the shape \(2, 1, 2, 3\); the model reads rows \(N, 2\)"),
        (IMAGES, "rows.npz", "x", r"has inputs of the shape \(2, 2\); the model reads images \(1, 2, 3\)"),
        (TABLE, "rows.npz", None, r"--column is missing: which array of .*rows\.npz is it\? It has x \(2, 2\), y"),
        (TABLE, "rows.npz", "z", r"--column: .*rows\.npz has no array 'z'"),
    ):
        with pytest.raises(DataError, match=message):
            raw(encoder, tmp_path / name, column)


def test_columns_without_names_are_read_in_their_order(tmp_path: Path) -> None:
    unnamed = TableEncoder(mean=np.zeros(2), std=np.ones(2))
    assert raw(unnamed, wrote(tmp_path / "a.csv", "p,q\n1,2\n3,4\n")) == [[1, 2], [3, 4]]
    with pytest.raises(
        DataError, match=r"a\.csv has 3 columns \(p, q, r\); the model was trained on rows of 2 numbers"
    ):
        raw(unnamed, wrote(tmp_path / "a.csv", "p,q,r\n1,2,3\n"))
    with pytest.raises(DataError, match=r"a\.csv begins with numbers, 1, 2; expected a header"):
        raw(unnamed, wrote(tmp_path / "a.csv", "1,2\n3,4\n"))


def test_standard_input_in_another_encoding_is_told() -> None:
    stream = io.TextIOWrapper(io.BytesIO("é".encode("latin-1")), encoding="utf-8")
    with pytest.raises(DataError, match="standard input is not utf-8"):
        list(read_lines(stream, "standard input"))
