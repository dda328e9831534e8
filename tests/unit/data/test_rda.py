"""The reader of R's data files, against files written byte by byte as the format is described, and against rdata."""

from __future__ import annotations

import lzma
import random
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hvdtrain.data.formats.rda import Vector, read_rda

HEADER = b"RDX2\nX\n" + struct.pack(">iii", 2, 0x040003, 0x020300)
NIL = struct.pack(">i", 254)


def word(text: str) -> bytes:
    return struct.pack(">ii", 9 | 1 << 18, len(text)) + text.encode()


def symbol(text: str) -> bytes:
    return struct.pack(">i", 1) + word(text)


def pair(name: bytes, value: bytes) -> bytes:
    return struct.pack(">i", 2 | 1 << 10) + name + value


def texts(*values: str) -> bytes:
    return struct.pack(">ii", 16, len(values)) + b"".join(map(word, values))


def factor(codes: list[int], levels: bytes) -> bytes:
    """Whole numbers with the attribute `levels`, whose name is given as a symbol or as a reference to one."""
    values = struct.pack(f">ii{len(codes)}i", 13 | 1 << 8 | 1 << 9, len(codes), *codes)
    return values + pair(levels, texts("no", "yes")) + NIL


def frame() -> bytes:
    """A list of a factor, a factor whose attribute refers to the first one's symbol, and real numbers; with names."""
    first = factor([1, 2, 2], symbol("levels"))
    second = factor([2, 1, 1], struct.pack(">i", 255 | 2 << 8))  # symbol 2: symbol 1 is the object's name
    third = struct.pack(">ii3d", 14, 3, 0.5, -1.0, 1e300)
    whole = struct.pack(">ii", 19 | 1 << 9, 3) + first + second + third
    return HEADER + pair(symbol("table"), whole + pair(symbol("names"), texts("a", "b", "c")) + NIL) + NIL


def test_a_table_of_factors_and_numbers_is_read() -> None:
    table = read_rda(frame())["table"]
    assert table.attributes["names"].values == ["a", "b", "c"]
    first, second, third = table.values
    assert first.values.tolist() == [1, 2, 2]
    assert second.values.tolist() == [2, 1, 1]
    assert first.attributes["levels"].values == second.attributes["levels"].values == ["no", "yes"]
    assert third.values.tolist() == [0.5, -1.0, 1e300]
    assert third.attributes == {}


def test_every_cut_is_noticed() -> None:
    content = frame()
    for end in range(len(content)):
        with pytest.raises(ValueError, match=r"cut off|does not begin"):
            read_rda(content[:end])


@pytest.mark.parametrize("kind", [3, 4, 6, 8, 20, 21, 22, 25, 238], ids=lambda kind: f"kind {kind}")
def test_what_could_do_something_is_refused(kind: int) -> None:
    with pytest.raises(ValueError, match=rf"something of kind {kind}"):
        read_rda(HEADER + pair(symbol("x"), struct.pack(">i", kind)) + NIL)


def test_nesting_and_lengths_are_bounded() -> None:
    deep = struct.pack(">ii", 19, 1) * 1000
    with pytest.raises(ValueError, match="nested too deeply"):
        read_rda(HEADER + pair(symbol("x"), deep))
    for kind, length in ((13, -1), (13, 1 << 30), (14, 1 << 30), (16, 1 << 30), (19, -5)):
        with pytest.raises(ValueError, match="cut off"):
            read_rda(HEADER + pair(symbol("x"), struct.pack(">ii", kind, length)) + NIL)
    with pytest.raises(ValueError, match="refers to a symbol that it has not"):
        read_rda(HEADER + pair(symbol("x"), struct.pack(">i", 255 | 9 << 8)) + NIL)


def test_damage_is_an_error_or_another_value_but_no_other_exception() -> None:
    source = random.Random(3)
    read = 0
    for _ in range(2000):
        content = bytearray(frame())
        for _ in range(source.randint(1, 4)):
            content[source.randrange(len(content))] = source.randrange(256)
        try:
            found = read_rda(bytes(content))
        except ValueError:
            continue
        read += 1
        assert isinstance(found, dict)
        assert plain(found), found
    assert 100 < read < 1900


def plain(value: object) -> bool:
    """Whether a value is texts, numbers and nothing, to the bottom."""
    if isinstance(value, Vector):
        numbers = isinstance(value.values, np.ndarray) and value.values.dtype in (np.dtype(">i4"), np.dtype(">f8"))
        return plain(value.attributes) and (numbers or all(map(plain, value.values)))
    if isinstance(value, dict):
        return all(isinstance(name, str) and plain(one) for name, one in value.items())
    return value is None or isinstance(value, str)


def test_other_bytes_of_a_number_are_another_number_there_and_nothing_else() -> None:
    content = frame()
    place = content.index(struct.pack(">d", -1.0))
    for number in (2.5, float("inf"), -0.0):
        changed = content[:place] + struct.pack(">d", number) + content[place + 8 :]
        first, second, third = read_rda(changed)["table"].values
        assert third.values.tolist() == [0.5, number, 1e300]
        assert (first.values.tolist(), second.values.tolist()) == ([1, 2, 2], [2, 1, 1])


def test_it_agrees_with_rdata_on_the_real_file(fetched: Callable[[str], ModuleType], tmp_path: Path) -> None:
    rdata = pytest.importorskip("rdata", reason="rdata, another reader, is not installed")
    source = fetched("dna_splice")
    packages = list((source.DOWNLOAD.entry.parents[1] / "downloads").glob("r-cran-mlbench_*.deb"))
    if not packages:
        pytest.skip("the package of DNA.rda is not in the user's cache")
    content = lzma.decompress(source.PACKAGE.read(packages[0])["DNA.rda"])
    (tmp_path / "DNA.rda").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, of encodings
        expected = rdata.read_rda(tmp_path / "DNA.rda")["DNA"]
    table = read_rda(content)["DNA"]
    assert table.attributes["names"].values == list(expected.columns)
    for name, column in zip(expected.columns, table.values, strict=True):
        assert isinstance(column, Vector)
        levels = np.array(column.attributes["levels"].values)
        assert (levels[column.values - 1] == expected[name].astype(str).to_numpy()).all(), name
