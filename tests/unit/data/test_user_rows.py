"""CSV, JSONL and Parquet of the user's: what columns become, and what is said of rows that can't be used."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from hvdtrain.data.examples import TEST, TRAIN, VAL, Examples
from hvdtrain.data.prepare import prepare
from hvdtrain.data.prepared import PreparedData
from hvdtrain.errors import DataError, SetupError
from hvdtrain.registry import config_class, find

HOUSES = ["size,rooms,city,price", "120,4,Bern,510.5", "80,3,Chur,300", "60,2,Bern,210.25", '45.5,1,"Zug, old",199']
ROWS = [[120, 4], [80, 3], [60, 2], [45.5, 1]]
PRICES = [510.5, 300, 210.25, 199]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def examples(**section: Any) -> Examples:
    config = config_class("data", section["name"]).model_validate(section)
    return find("data", section["name"]).examples(config)  # type: ignore[no-any-return]


def prepared(form: str = "examples", tokenizer: bool = False, **section: Any) -> PreparedData:
    config = config_class("data", section["name"]).model_validate(section)
    used = config_class("tokenizers", "bytes").model_validate({"name": "bytes"}) if tokenizer else None
    return prepare(config, used, seed=1, form=form)


def write(name: str, lines: Iterable[str]) -> None:
    Path(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def objects(lines: list[str], converters: dict[str, Any]) -> list[dict[str, Any]]:
    import csv

    return [{key: converters.get(key, str)(value) for key, value in row.items()} for row in csv.DictReader(lines)]


def write_as(kind: str, stem: str, lines: list[str]) -> str:
    """Write the same table in each format."""
    rows = objects(lines, {"size": float, "rooms": int, "price": float})
    if kind == "csv":
        write(f"{stem}.csv", lines)
    elif kind == "jsonl":
        write(f"{stem}.jsonl", map(json.dumps, rows))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), f"{stem}.parquet")
    return f"{stem}.{kind}"


KINDS = pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])


@KINDS
def test_columns_of_numbers_are_a_table(kind: str) -> None:
    path = write_as(kind, "houses", HOUSES)
    found = examples(name=kind, paths=[path], inputs=["rooms", "size"], target="price")
    assert found.kind == "table"
    assert found.feature_names == ("rooms", "size")
    np.testing.assert_array_equal(found.inputs, np.array(ROWS)[:, ::-1])
    np.testing.assert_array_equal(found.targets, PRICES)
    assert found.class_names == ()


@KINDS
def test_inputs_are_all_other_columns_of_numbers_if_none_are_named(kind: str) -> None:
    found = examples(name=kind, paths=[write_as(kind, "houses", HOUSES)], target="price")
    assert found.feature_names == ("size", "rooms")
    assert any("city" in note and "no inputs" in note for note in found.notes)


@KINDS
def test_a_text_as_target_is_a_class(kind: str) -> None:
    found = examples(name=kind, paths=[write_as(kind, "houses", HOUSES)], inputs=["size"], target="city")
    assert found.class_names == ("Bern", "Chur", "Zug, old")
    assert np.asarray(found.targets).tolist() == [0, 1, 0, 2]


@KINDS
def test_a_column_of_texts_needs_a_tokenizer_and_columns_of_numbers_none(kind: str) -> None:
    config = config_class("data", kind)
    assert config.model_validate({"name": kind, "paths": ["a"], "inputs": "text"}).needs_tokenizer  # type: ignore[attr-defined]
    assert not config.model_validate({"name": kind, "paths": ["a"], "inputs": ["text"]}).needs_tokenizer  # type: ignore[attr-defined]
    assert not config.model_validate({"name": kind, "paths": ["a"]}).needs_tokenizer  # type: ignore[attr-defined]


@KINDS
def test_texts_with_stars_are_texts_with_classes(kind: str) -> None:
    lines = ["review,rooms", *(f"text {number} was fine,{number % 5 + 1}" for number in range(20))]
    path = write_as(kind, "reviews", lines)
    found = examples(name=kind, paths=[path], inputs="review", target="rooms")
    assert found.kind == "texts"
    assert found.inputs[3] == "text 3 was fine"
    assert found.class_names == ("1", "2", "3", "4", "5")
    assert np.asarray(found.targets).tolist() == [number % 5 for number in range(20)]
    assert any("whole numbers of 5 different values" in note and "target_kind" in note for note in found.notes)


@KINDS
def test_pairs_of_texts(kind: str) -> None:
    lines = ["english,spanish", *(f"word {number},palabra {number}" for number in range(10))]
    path = write_as(kind, "pairs", lines)
    for target_kind in ("auto", "text"):
        found = examples(name=kind, paths=[path], inputs="english", target="spanish", target_kind=target_kind)
        assert found.kind == "pairs"
        assert list(found.targets or [])[9] == "palabra 9"
    as_classes = examples(name=kind, paths=[path], inputs="english", target="spanish", target_kind="class")
    assert len(as_classes.class_names) == 10


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2"] * 10, "class"),
        (["1.0", "0.0"] * 10, "class"),
        (["1.5", "2"] * 10, "number"),
        ([str(number) for number in range(40)], "number"),  # all differ
        ([str(number % 21) for number in range(63)], "number"),  # more than 20 values
        ([str(number % 20) for number in range(60)], "class"),
        (["good", "bad"] * 10, "class"),
        (["1", "2", "other", "other"] * 5, "class"),
    ],
)
def test_what_a_target_is_follows_from_its_values(values: list[str], kind: str) -> None:
    write("a.csv", ["x,y", *(f"{row},{value}" for row, value in enumerate(values))])
    found = examples(name="csv", paths=["a.csv"], target="y")
    assert ("class" if found.class_names else "number") == kind
    assert len(found.notes) == 1
    assert "data.target_kind" in found.notes[0]


def test_what_a_target_is_can_be_said() -> None:
    write("a.csv", ["x,y", *(f"{row},{row % 3}" for row in range(12))])
    assert examples(name="csv", paths=["a.csv"], target="y").class_names == ("0", "1", "2")
    as_numbers = examples(name="csv", paths=["a.csv"], target="y", target_kind="number")
    assert as_numbers.class_names == ()
    assert np.asarray(as_numbers.targets).dtype.kind == "f"
    assert as_numbers.notes == ()
    write("b.csv", ["x,y", *(f"{row},{value}" for row, value in enumerate(["10", "9", "2.50"] * 4))])
    assert examples(name="csv", paths=["b.csv"], target="y", target_kind="class").class_names == ("2.50", "9", "10")


def test_true_and_false_are_classes() -> None:
    write("a.jsonl", [f'{{"x": {row}, "y": {"true" if row % 2 else "false"}}}' for row in range(6)])
    found = examples(name="jsonl", paths=["a.jsonl"], target="y")
    assert [found.class_names[target] for target in found.targets] == ["false", "true"] * 3  # type: ignore[index,union-attr]


def test_one_class_has_one_name_in_all_files() -> None:
    write("a.jsonl", ['{"x": 1, "y": 1}', '{"x": 2, "y": 0}', '{"x": 2, "y": 1.0}'])
    found = examples(name="jsonl", paths=["a.jsonl"], target="y", target_kind="class")
    assert found.class_names == ("0", "1")
    assert np.asarray(found.targets).tolist() == [1, 0, 1]


@KINDS
def test_own_files_are_held_out_and_files_are_shards(kind: str) -> None:
    names = [write_as(kind, stem, [HOUSES[0], *rows]) for stem, rows in (("a", HOUSES[1:3]), ("b", HOUSES[3:4]))]
    test = write_as(kind, "t", [HOUSES[0], HOUSES[4]])
    found = examples(name=kind, paths=names, test_paths=[test], target="price")
    assert found.parts is not None
    assert found.parts.tolist() == [TRAIN, TRAIN, TRAIN, TEST]
    assert found.shards is not None
    assert found.shards.tolist() == [0, 0, 1, 2]
    np.testing.assert_array_equal(found.inputs, ROWS)
    found = examples(name=kind, paths=names, val_paths=[test], target="price")
    assert found.parts is not None
    assert found.parts.tolist()[-1] == VAL


@KINDS
def test_the_fingerprint_is_that_of_content_and_columns(kind: str) -> None:
    path = write_as(kind, "houses", HOUSES)
    first = examples(name=kind, paths=[path], target="price").fingerprint
    Path("copy").mkdir()
    Path(path).rename(f"copy/other.{kind}")
    assert examples(name=kind, paths=["copy"], target="price", val_fraction=0.3).fingerprint == first
    assert examples(name=kind, paths=["copy"], target="price", inputs=["size"]).fingerprint != first
    changed = write_as(kind, "changed", [*HOUSES[:-1], '46.5,1,"Zug, old",199'])
    assert examples(name=kind, paths=[changed], target="price").fingerprint != first


@KINDS
def test_prepared_tables_are_standardised_and_parted(kind: str, empty_cache: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["size,rooms,price", *(f"{a},{b},{c}" for a, b, c in rng.integers(1, 1000, (50, 3)).tolist())]
    data = prepared(name=kind, paths=[write_as(kind, "houses", lines)], target="price", target_kind="number")
    assert (len(data.train), len(data.val), len(data.test or ())) == (35, 5, 10)
    batch = data.train.batch(np.arange(35))
    np.testing.assert_allclose(batch["inputs"].mean(0), 0, atol=1e-6)
    assert batch["targets"].dtype.is_floating_point


@KINDS
def test_prepared_texts_hold_their_tokens(kind: str, empty_cache: Path) -> None:
    lines = ["review,label", *(f"good {number},yes\nbad {number},no" for number in range(20))]
    lines = [line for both in lines for line in both.split("\n")]
    data = prepared(tokenizer=True, name=kind, paths=[write_as(kind, "r", lines)], inputs="review", target="label")
    batch = data.train.batch(np.arange(len(data.train)))
    assert data.encoder.class_names == ("no", "yes")
    for row, target in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
        assert bytes(token for token in row if token < 256).startswith(b"good " if target else b"bad ")


@KINDS
def test_a_language_model_reads_a_column_of_texts(kind: str, empty_cache: Path) -> None:
    lines = ["body", *(f"This is document number {number}." for number in range(40))]
    section = {"name": kind, "paths": [write_as(kind, "docs", lines)], "inputs": "body", "max_seq_len": 16}
    data = prepared(form="corpus", tokenizer=True, **section)
    sequences = data.train.batch(np.arange(len(data.train)))
    assert b"This is document number" in bytes(
        token for token in sequences["inputs"].reshape(-1).tolist() if token < 256
    )
    for change, message in (
        ({"inputs": ["body"]}, "data.inputs: a language model reads one column of texts"),
        ({"val_fraction": 0.0}, "data.val_fraction, above 0"),
        ({"val_paths": [write_as(kind, "held", ["body", "text"])]}, "val_paths and test_paths are for single samples"),
        ({"inputs": "bodi"}, "data.inputs: docs.* has no column 'bodi'; did you mean 'body'"),
    ):
        with pytest.raises(DataError, match=message):
            prepared(form="corpus", tokenizer=True, **(section | change))


# What is wrong with CSV


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


def test_csv_in_other_dress() -> None:
    Path("a.csv").write_bytes("größe;preis\n1;2.5\n\n2;3.5\n".encode("utf-16"))
    found = examples(name="csv", paths=["a.csv"], target="preis", delimiter=";", encoding="utf16")
    np.testing.assert_array_equal(found.inputs, [[1], [2]])
    assert found.feature_names == ("größe",)
    Path("b.csv").write_bytes(b"\xef\xbb\xbfx\ty\r\n1\t2.5\r\n2\t3.5\r\n")
    found = examples(name="csv", paths=["b.csv"], target="y", inputs=["x"], delimiter="\t")
    np.testing.assert_array_equal(found.targets, [2.5, 3.5])
    write("c.csv", ["5.1,a", "4.9,b"])
    found = examples(name="csv", paths=["c.csv"], columns=["width", "kind"], target="kind")
    assert found.class_names == ("a", "b")
    np.testing.assert_array_equal(found.inputs, [[5.1], [4.9]])


def test_a_field_may_be_longer_than_the_csv_modules_limit() -> None:
    write("a.csv", ["text,y", f"{'long ' * 50_000},a", "short,b"])
    found = examples(name="csv", paths=["a.csv"], inputs="text", target="y", target_kind="class")
    assert len(found.inputs[0]) == 250_000


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


@KINDS
def test_paths_that_match_nothing_name_their_key(kind: str) -> None:
    assert "data.paths: no file matches *.x (relative paths start at" in complaint(name=kind, paths=["*.x"], target="y")
    path = write_as(kind, "houses", HOUSES)
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


def test_jsonl_texts_may_hold_any_separator() -> None:
    Path("a.jsonl").write_text('{"t": "one\u2028two", "y": "a"}\n{"t": "b\\nc", "y": "b"}\n', encoding="utf-8")
    found = examples(name="jsonl", paths=["a.jsonl"], inputs="t", target="y", target_kind="class")
    assert found.inputs == ["one\u2028two", "b\nc"]


def test_numbers_where_texts_are_expected() -> None:
    write("a.jsonl", ['{"t": "fine", "y": "a"}', '{"t": 5, "y": "b"}'])
    found = complaint(name="jsonl", paths=["a.jsonl"], inputs="t", target="y", target_kind="class")
    assert found == "a.jsonl:2: t is 5; expected a text"


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


def test_types_of_parquet() -> None:
    import datetime
    import decimal

    columns = {
        "day": pyarrow.array([datetime.date(2020, 1, day) for day in (1, 2, 3)]),
        "price": pyarrow.array([decimal.Decimal("1.50"), decimal.Decimal("2"), decimal.Decimal("3")]),
        "kind": pyarrow.array(["a", "b", "a"]).dictionary_encode(),
        "small": pyarrow.array([1, 2, 3], pyarrow.int8()),
        "list": pyarrow.array([[1], [2], [3]]),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), "a.parquet")
    found = examples(name="parquet", paths=["a.parquet"], target="kind")
    assert found.feature_names == ("price", "small")
    np.testing.assert_array_equal(found.inputs, [[1.5, 1], [2, 2], [3, 3]])
    assert found.class_names == ("a", "b")


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
    path = write_as("parquet", "houses", HOUSES)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SetupError, match=r"PyArrow, which is not installed: pip install 'hvdtrain\[parquet\]'"):
        examples(name="parquet", paths=[path], target="price")
