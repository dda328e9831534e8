"""Splice junctions: windows of 60 base pairs of primate DNA; is there a junction in the middle, and of which kind?

`ei`: from exon to intron (donor); `ie`: from intron to exon (acceptor); `n`: neither. The data is UCI's "Molecular
Biology (Splice-junction Gene Sequences)", from GenBank 64.1 (Noordewier, Towell and Shavlik 1991), as the R package
`mlbench` ships it: 3,186 sequences, three binary numbers a base.
"""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hvdtrain.data._config import TextExamplesConfig
from hvdtrain.data._download import DebianPackage, Download
from hvdtrain.errors import DataError

if TYPE_CHECKING:
    from hvdtrain.data.examples import Examples

CLASSES = ("ei", "ie", "n")
BASES = 60
SEQUENCES = 3186
PACKAGE = DebianPackage(
    "r-cran-mlbench",
    {
        "usr/lib/R/site-library/mlbench/data/DNA.rda": (
            "df941ad89a49f705a29bf38e52c91dc34029539cedb13fa24f803f1224278c9e"
        )
    },
)


class Config(TextExamplesConfig):
    """Splice junctions, as `hvdtrain data fetch dna_splice` put them into the cache: texts of 60 letters A, C, G, T."""

    name: Literal["dna_splice"] = "dna_splice"
    max_seq_len: int = Field(61, ge=1)  # with the end of text, where a token is a letter


def examples(config: Config) -> Examples:
    """Return each sequence once, so that none is in two parts; DataError where they were not fetched.

    A sequence that is in the data under two classes is left out.
    """
    import numpy as np

    from hvdtrain.data.examples import Examples

    lines = (DOWNLOAD.require() / "sequences.csv").read_text("ascii").splitlines()
    classes: dict[str, set[str]] = {}
    for line in lines:
        name, sequence = line.split(",")
        classes.setdefault(sequence, set()).add(name)
    clear = {sequence: CLASSES.index(next(iter(names))) for sequence, names in classes.items() if len(names) == 1}
    return Examples(
        inputs=list(clear),
        targets=np.array(list(clear.values()), dtype=np.int64),
        fingerprint=DOWNLOAD.fingerprint,
        class_names=CLASSES,
        notes=(
            f"of {len(lines)} sequences, {len(lines) - len(classes)} that repeat another and "
            f"{len(classes) - len(clear)} with two classes are left out: {len(clear)} remain",
        ),
    )


def unpack(archives: Sequence[Path], folder: Path) -> None:
    """Write `sequences.csv`: a line each of class and 60 letters, in the order of the source, repetitions included."""
    from hvdtrain.data.formats.rda import read_rda

    try:
        frame = read_rda(lzma.decompress(PACKAGE.read(archives[0])["DNA.rda"]))["DNA"]
        lines = _lines(dict(zip(frame.attributes["names"].values, frame.values, strict=True)))
    except (lzma.LZMAError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise DataError(f"{archives[0]}: DNA.rda is not the table that was expected: {error}") from error
    (folder / "sequences.csv").write_text("\n".join(lines) + "\n", "ascii")


def _lines(columns: dict[str, Any]) -> list[str]:
    """Return `class,letters` of each row of the factors V1 to V180 (of levels 0 and 1) and Class."""
    import numpy as np

    bits = np.stack([np.array(_texts(columns[f"V{number}"])) == "1" for number in range(1, 3 * BASES + 1)], axis=1)
    triples = bits.reshape(-1, BASES, 3)  # A, C and G each have a bit, T has none
    names = _texts(columns["Class"])
    if triples.shape[0] != SEQUENCES or (triples.sum(2) > 1).any() or set(names) != set(CLASSES):
        raise ValueError("other rows, bits or classes")
    letters = np.where(triples.any(2), np.array(list("ACG"))[triples.argmax(2)], "T")
    return [f"{name},{''.join(row)}" for name, row in zip(names, letters, strict=True)]


def _texts(factor: Any) -> list[str]:
    """Return the values of an R factor: codes from 1 into its levels."""
    levels = factor.attributes["levels"].values
    return [levels[code - 1] for code in factor.values]


DOWNLOAD = Download(
    name="dna_splice",
    version="1",
    summary="3,186 sequences of 60 base pairs with a splice junction in the middle or none, three classes",
    licence="CC BY 4.0, UCI machine learning repository; the collection is GPL-2, mlbench",
    archives=(PACKAGE,),
    unpack=unpack,
)
