"""Splice junctions: letters and classes are right, and no sequence can be in two parts."""

from __future__ import annotations

import lzma
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hvdtrain.data import cache
from hvdtrain.data._download import DebianPackage
from hvdtrain.data.formats.rda import Vector
from hvdtrain.data.sources import dna_splice
from hvdtrain.errors import DataError


def test_each_sequence_is_there_once_and_has_one_class(fetched: Callable[[str], ModuleType]) -> None:
    source = fetched("dna_splice")
    found = source.examples(source.Config())
    assert found.kind == "texts"
    assert len(found) == len(set(found.inputs)) == 3000
    assert {len(text) for text in found.inputs} == {60}
    assert set("".join(found.inputs)) == set("ACGT")
    assert found.notes == (
        "of 3186 sequences, 185 that repeat another and 1 with two classes are left out: 3000 remain",
    )
    lines = [tuple(line.split(",")) for line in (source.DOWNLOAD.entry / "sequences.csv").read_text().split()]
    assert Counter(name for name, _ in lines) == {"n": 1654, "ei": 767, "ie": 765}  # as mlbench documents
    labelled = {(found.class_names[target], text) for text, target in zip(found.inputs, found.targets, strict=True)}
    assert labelled < set(lines)


def test_donors_have_gt_and_acceptors_ag_in_the_middle(fetched: Callable[[str], ModuleType]) -> None:
    """The rule of introns (Breathnach and Chambon 1981): they begin with GT and end with AG."""
    source = fetched("dna_splice")
    found = source.examples(source.Config())

    def share(name: str, place: int, letters: str) -> float:
        texts = [text for text, target in zip(found.inputs, found.targets, strict=True) if CLASS[target] == name]
        return float(np.mean([text[place : place + 2] == letters for text in texts]))

    CLASS = found.class_names
    assert share("ei", 30, "GT") > 0.98
    assert share("ie", 28, "AG") > 0.98
    assert share("n", 30, "GT") < 0.15
    assert share("n", 28, "AG") < 0.15


def test_repetitions_and_contradictions_are_left_out(empty_cache: Path) -> None:
    lines = ["ei,AC", "n,GT", "ei,AC", "ie,TT", "n,TT", "n,GG", "n,GT", "n,GT"]

    def build(folder: Path) -> dict[str, str]:
        (folder / "sequences.csv").write_text("\n".join(lines))
        return {}

    cache.ensure(dna_splice.DOWNLOAD.entry, build)
    found = dna_splice.examples(dna_splice.Config())
    assert found.inputs == ["AC", "GT", "GG"]
    assert found.targets is not None
    assert [found.class_names[target] for target in found.targets] == ["ei", "n", "n"]
    assert found.notes == ("of 8 sequences, 4 that repeat another and 1 with two classes are left out: 3 remain",)


def columns(rows: list[str], names: list[str]) -> dict[str, Vector]:
    """The factors of a table whose rows are 180 binary digits."""
    digits = {
        f"V{place + 1}": Vector(np.array([int(row[place]) + 1 for row in rows]), {"levels": Vector(["0", "1"])})
        for place in range(180)
    }
    levels = ["ei", "ie", "n"]
    return digits | {"Class": Vector(np.array([levels.index(name) + 1 for name in names]), {"levels": Vector(levels)})}


def test_three_digits_are_a_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dna_splice, "SEQUENCES", 3)
    row = "100" + "010" + "001" + "000" + "100" * 56
    lines = dna_splice._lines(columns([row, "000" * 60, "001" * 60], ["ie", "n", "ei"]))
    assert lines == ["ie,ACGT" + "A" * 56, "n," + "T" * 60, "ei," + "G" * 60]
    with pytest.raises(ValueError, match="other rows, bits or classes"):
        dna_splice._lines(columns(["110" + "000" * 59] * 3, ["ie", "n", "ei"]))
    with pytest.raises(ValueError, match="other rows, bits or classes"):
        dna_splice._lines(columns([row] * 2, ["ie", "n"]))


@pytest.mark.parametrize("content", [b"no xz", lzma.compress(b"no R"), lzma.compress(b"RDX2\nX\n" + bytes(12))])
def test_another_file_in_the_package_is_an_error_that_names_it(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DebianPackage, "read", lambda self, path: {"DNA.rda": content})
    with pytest.raises(DataError, match=r"a\.deb: DNA\.rda is not the table that was expected"):
        dna_splice.unpack([tmp_path / "a.deb"], tmp_path)


def test_a_sequence_fits_with_its_end() -> None:
    assert dna_splice.Config().max_seq_len == 61
    assert dna_splice.Config(max_seq_len=20).max_seq_len == 20
