"""CSV, JSONL and Parquet of the user's: what columns become."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from hvdtrain.data.examples import TEST, TRAIN, VAL, Examples
from hvdtrain.data.prepare import prepare
from hvdtrain.data.prepared import PreparedData
from hvdtrain.errors import DataError
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
    assert found.notes[0] == "inputs, as data.inputs names none: size, rooms"
    assert any("city" in note and "no inputs" in note for note in found.notes)


def test_a_column_without_a_name_is_no_input_unless_asked_for() -> None:
    """Such as the numbers of rows that pandas writes first: a model would learn the order of the file."""
    write("a.csv", [",x,y", *(f"{row},{row % 7},{row / 2}" for row in range(9))])
    found = examples(name="csv", paths=["a.csv"], target="y")
    assert found.feature_names == ("x",)
    assert "no inputs, as the header gives them no name: (column 1); data.inputs may name them" in found.notes
    assert examples(name="csv", paths=["a.csv"], target="y", inputs=["(column 1)"]).inputs[8] == [8]


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
    assert found.notes[0] == "inputs, as data.inputs names none: x"
    assert len(found.notes) == 2
    assert "data.target_kind" in found.notes[1]


def test_what_a_target_is_can_be_said() -> None:
    write("a.csv", ["x,y", *(f"{row},{row % 3}" for row in range(12))])
    assert examples(name="csv", paths=["a.csv"], target="y").class_names == ("0", "1", "2")
    as_numbers = examples(name="csv", paths=["a.csv"], inputs=["x"], target="y", target_kind="number")
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


def test_jsonl_texts_may_hold_any_separator() -> None:
    Path("a.jsonl").write_text('{"t": "one\u2028two", "y": "a"}\n{"t": "b\\nc", "y": "b"}\n', encoding="utf-8")
    found = examples(name="jsonl", paths=["a.jsonl"], inputs="t", target="y", target_kind="class")
    assert found.inputs == ["one\u2028two", "b\nc"]


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
