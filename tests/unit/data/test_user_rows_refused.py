"""CSV, JSONL and Parquet of the user's: what is said of files, rows and recipes that can't be used."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from hvdtrain.errors import DataError, SetupError
from hvdtrain.registry import config_class, find


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, lines: Iterable[str]) -> None:
    Path(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def examples(**section: Any) -> None:
    find("data", section["name"]).examples(config_class("data", section["name"]).model_validate(section))


def complaint(**section: Any) -> str:
    with pytest.raises(DataError) as caught:
        examples(**section)
    return str(caught.value)


def test_bad_rows_are_listed_with_line_column_and_value() -> None:
    write("a.csv", ["x,y", "1,2.5", "big,1", '2,"a\nb"', "3,", "4", "5,1,7", "inf,1", "8,oops"])
    assert complaint(name="csv", paths=["a.csv"], target="y", inputs=["x"], target_kind="number").split("\n  ") == [
        "a.csv: 7 of 8 rows can't be used:",
        "a.csv:3: x is 'big'; expected a finite number",
        "a.csv:4: y is 'a\\nb'; expected a finite number",
        "a.csv:6: y has no value; expected a finite number",
        "a.csv:7: 1 field, and the header has 2",
        "a.csv:8: 3 fields, and the header has 2",
        "and 2 more",
    ]


def test_all_files_with_bad_rows_are_named() -> None:
    write("a.csv", ["x,y", "1,2.5", "big,1"])
    write("b.csv", ["x,y", "1,2.5", "3,5", "4,NaN"])
    write("c.csv", ["x,y", "1,2.5"])
    found = complaint(name="csv", paths=["a.csv", "b.csv", "c.csv"], target="y", target_kind="number", inputs=["x"])
    assert found.splitlines() == [
        "a.csv:3: x is 'big'; expected a finite number",
        "b.csv:4: y is 'NaN'; expected a finite number",
    ]


def test_a_column_with_few_bad_values_is_not_left_out_silently() -> None:
    write("a.csv", ["x,y", "1,2.5", "2,3.5", "n/a,1.5"])
    assert complaint(name="csv", paths=["a.csv"], target="y") == "a.csv:4: x is 'n/a'; expected a finite number"
    write("b.csv", ["x,y", "1,2.5", "2,3.5", "3,n/a"])
    assert "b.csv:4: y is 'n/a'; expected a finite number, as most of the column are" in complaint(
        name="csv", paths=["b.csv"], target="y"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"^a.csv is empty$"),
        (b"x,y\n", r"^a.csv has no rows$"),
        (b"\n\n", r"^a.csv is empty$"),
        (b"x,y,x\n1,2,3\n", r"^a.csv:1: two columns are called 'x'"),
        (b"x,y\n1,2\n3,\xff4\n", r"^a.csv:3: not utf-8 \(byte 10 of the file: .*set data.encoding"),
        (b'x,y\n1,2\n"3,4\n5,6\n', r"^a.csv:3: this row is not CSV"),
        (b'x,y\n1,2\n"3"4,5\n', r"^a.csv:3: this row is not CSV"),
        (b"x;y\n1;2\n", r"a.csv: the header is one column, 'x;y'; if ';' stands .* set data.delimiter: \";\""),
        (b"x,why\n1,2\n", r"data.target: a.csv has no column 'y' \(it has x, why\)"),
        (b"xx,y\n1,2\n", r"data.inputs: a.csv has no column 'x'; did you mean 'xx'\? \(it has xx, y\)"),
    ],
)
def test_a_csv_file_that_cannot_be_read_is_explained(content: bytes, message: str) -> None:
    Path("a.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        examples(name="csv", paths=["a.csv"], inputs=["x"], target="y")


def test_empty_texts_are_bad_rows() -> None:
    write("a.csv", ["text,y", "fine,a", ",b", '"  ",a'])
    found = complaint(name="csv", paths=["a.csv"], inputs="text", target="y", target_kind="class")
    assert "a.csv:3: text has no value; expected a text" in found
    assert "a.csv:4: text has no value; expected a text" in found


def test_a_column_missing_in_one_file_is_an_error() -> None:
    write("a.csv", ["x,z,y", "1,2,2.5"])
    write("b.csv", ["x,y", "1,2.5"])
    for paths in (["a.csv", "b.csv"], ["b.csv", "a.csv"]):
        assert "data.inputs: b.csv has no column 'z'" in complaint(name="csv", paths=paths, target="y")


def test_what_is_missing_in_the_recipe_is_said_with_what_there_is() -> None:
    write("a.csv", ["x,city,y", "1,Bern,2.5"])
    assert "which column of a.csv is to be predicted? It has x, city, y" in complaint(name="csv", paths=["a.csv"])
    write("a.csv", ["city,y", "Bern,2.5"])
    assert "a.csv has no column of numbers beside the target 'y'" in complaint(name="csv", paths=["a.csv"], target="y")


def test_one_file_cannot_be_in_two_parts() -> None:
    write("a.csv", ["x,y", "1,2.5"])
    found = complaint(name="csv", paths=["*.csv"], test_paths=["./a.csv"], target="y")
    assert found == "data.test_paths: a.csv is also in data.paths: it can't be held out and learned"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_paths_that_match_nothing_name_their_key(kind: str) -> None:
    assert "data.paths: no file matches *.x (relative paths start at" in complaint(name=kind, paths=["*.x"], target="y")
    path = f"houses.{kind}"
    Path(path).touch()
    found = complaint(name=kind, paths=[path], val_paths=[f"house.{kind}"], target="y")
    assert f"data.val_paths: house.{kind} does not exist; did you mean '{path}'?" in found
    Path("empty").mkdir()
    assert f"the directory empty holds no .{kind}" in complaint(name=kind, paths=["empty"], target="y")


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": ["x", "x"], "target": "y"}, "inputs"),
        ({"inputs": ["x", "y"], "target": "y"}, "inputs"),
        ({"inputs": "y", "target": "y"}, "inputs"),
        ({"target": "y", "target_kind": "text"}, "inputs"),
        ({"target": "y", "target_kind": "classes"}, "target_kind"),
        ({"delimiter": ";;"}, "delimiter"),
        ({"delimiter": '"'}, "delimiter"),
        ({"encoding": "utf-9"}, "encoding"),
        ({"paths": []}, "paths"),
        ({"val_paths": []}, "val_paths"),
        ({"input": "x"}, "input"),
    ],
)
def test_a_bad_config_is_refused_at_its_key(values: dict[str, object], place: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config_class("data", "csv").model_validate({"name": "csv", "paths": ["a.csv"]} | values)
    assert {error["loc"][0] for error in caught.value.errors()} == {place}


# What is wrong with JSONL and Parquet


def test_bad_lines_of_jsonl_are_listed() -> None:
    lines = ['{"x": 1, "y": 2.5}', "{nonsense", "", '{"x": "1", "y": 1}', "[1]", '{"x": 1, "x": 2, "y": 3}']
    write("a.jsonl", [*lines, '{"y": 1}', '{"x": null, "y": NaN}'])
    found = complaint(name="jsonl", paths=["a.jsonl"], inputs=["x"], target="y", target_kind="number").split("\n  ")
    assert found[0] == "a.jsonl: 6 of 7 rows can't be used:"
    assert found[1].startswith("a.jsonl:2: not JSON (")
    assert found[2:] == [
        "a.jsonl:4: x is '1'; expected a finite number",
        "a.jsonl:5: expected a JSON object, and this is [1]",
        "a.jsonl:6: has the key 'x' twice",
        "a.jsonl:7: x has no value; expected a finite number",
        "and 1 more",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.jsonl has no rows"),
        (b"\n \n", "a.jsonl has no rows"),
        (b'[\n{"x": 1}\n]', "a.jsonl:1: a JSON array is no JSONL"),
        (b'{"x": 1, "y": 1}\n{"x": \xff}', r"a.jsonl:2: not utf-8 \(byte 23"),
        (b'{"X": 1, "y": 1}\n', "data.inputs: a.jsonl has no column 'x'"),
        (b'{"x": ' + b"[" * 100_000, "a.jsonl:1: not JSON"),
    ],
)
def test_a_jsonl_file_that_cannot_be_read_is_explained(content: bytes, message: str) -> None:
    Path("a.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        examples(name="jsonl", paths=["a.jsonl"], inputs=["x"], target="y")


def test_numbers_where_texts_are_expected() -> None:
    write("a.jsonl", ['{"t": "fine", "y": "a"}', '{"t": 5, "y": "b"}'])
    found = complaint(name="jsonl", paths=["a.jsonl"], inputs="t", target="y", target_kind="class")
    assert found == "a.jsonl:2: t is 5; expected a text"


def test_half_of_a_character_is_named_in_its_row() -> None:
    r"""JSON can spell it, "\\ud800", and no file, no tokenizer and no hash can take it."""
    write(
        "a.jsonl",
        [r'{"t": "fine \ud83d\ude00", "y": "a"}', r'{"t": "bad \ud800", "y": "b"}', r'{"t": "x", "y": "\udfff"}'],
    )
    section = {"name": "jsonl", "paths": ["a.jsonl"], "inputs": "t"}
    lines = complaint(**section, target="y", target_kind="class").split("\n  ")
    assert lines[1:] == [
        r"a.jsonl:2: t holds half of a character, '\ud800' (character 5); write it whole, or leave it out",
        r"a.jsonl:3: y holds half of a character, '\udfff' (character 1); write it whole, or leave it out",
    ]
    config = config_class("data", "jsonl").model_validate(section)
    with pytest.raises(DataError, match=r"a.jsonl:2: t holds half of a character"):
        find("data", "jsonl").documents(config)
    write("b.jsonl", [r'{"t\ud800": "x", "t": "x", "y": "a"}', '{"t": "x", "y": "b"}'])
    assert "b.jsonl:1: a key holds half of a character" in complaint(
        name="jsonl", paths=["b.jsonl"], inputs="t", target="y", target_kind="class"
    )


def test_bad_rows_of_parquet_are_listed() -> None:
    table = {"x": [1.0, None, float("nan"), 4.0], "t": ["a", "b", "", None], "y": [1.5, 2.0, 3.0, None]}
    pyarrow.parquet.write_table(pyarrow.table(table), "a.parquet")
    assert complaint(name="parquet", paths=["a.parquet"], inputs=["x"], target="y").split("\n  ") == [
        "a.parquet: 3 of 4 rows can't be used:",
        "a.parquet, row 2: x has no value; expected a finite number",
        "a.parquet, row 3: x is nan; expected a finite number",
        "a.parquet, row 4: y has no value; expected a finite number",
    ]
    assert "a.parquet, row 3: t has no value" in complaint(name="parquet", paths=["a.parquet"], inputs="t", target="y")


def test_parquet_files_that_cannot_be_read_are_explained() -> None:
    Path("a.parquet").write_bytes(b"PAR1 nothing else PAR1")
    assert "a.parquet can't be read as Parquet: " in complaint(name="parquet", paths=["a.parquet"], target="y")
    Path("a.parquet").write_bytes(b"")
    assert "a.parquet can't be read as Parquet: " in complaint(name="parquet", paths=["a.parquet"], target="y")
    whole = pyarrow.table({"x": np.arange(10_000.0), "y": np.arange(10_000.0)})
    pyarrow.parquet.write_table(whole, "b.parquet", compression="gzip")
    content = bytearray(Path("b.parquet").read_bytes())
    content[200:1200] = b"\x55" * 1000
    Path("b.parquet").write_bytes(content)
    assert "b.parquet can't be read as Parquet: " in complaint(name="parquet", paths=["b.parquet"], target="y")
    pyarrow.parquet.write_table(pyarrow.table({"x": pyarrow.array([], pyarrow.float64())}), "c.parquet")
    assert complaint(name="parquet", paths=["c.parquet"], target="x") == "c.parquet has no rows"
    twice = pyarrow.Table.from_arrays([pyarrow.array([1.0])] * 2, names=["x", "x"])
    pyarrow.parquet.write_table(twice, "d.parquet")
    assert "d.parquet: two columns are called 'x'" in complaint(name="parquet", paths=["d.parquet"], target="x")


def test_without_pyarrow_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("houses.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SetupError, match=r"PyArrow, which is not installed: pip install 'hvdtrain\[parquet\]'"):
        examples(name="parquet", paths=["houses.parquet"], target="price")
