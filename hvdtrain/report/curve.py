"""A curve drawn in braille dots."""

from __future__ import annotations

import math
from collections.abc import Sequence

# The bit of each dot of a braille cell, by column and row from the top.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BRAILLE = 0x2800


def draw(values: Sequence[float], width: int, height: int) -> list[str]:
    """Return `height` lines of `width` characters that show the values from left to right, the largest at the top.

    Values that are not finite leave a gap. A curve shorter than the width is stretched; of a longer one each column
    shows the mean of its values.
    """
    across, down = 2, 4
    columns = resample(values, width * across)
    known = [value for value in columns if value is not None]
    if not known:
        return [" " * width] * height
    low, span = min(known), max(known) - min(known)
    top = height * down - 1
    rows = [
        None if value is None else round(top * (1 - (value - low) / span)) if span else top // 2 for value in columns
    ]
    cells = [[0] * width for _ in range(height)]
    for x, (first, last) in enumerate(_strokes(rows)):
        for y in range(first, last + 1):
            cells[y // down][x // across] |= _DOTS[x % across][y % down]
    return ["".join(chr(_BRAILLE + cell) if cell else " " for cell in line) for line in cells]


def resample(values: Sequence[float], columns: int) -> list[float | None]:
    """Return one value a column, None where no finite one falls into it."""
    count = len(values)
    result: list[float | None] = []
    for column in range(columns if count else 0):
        if count <= columns:
            chosen = values[round(column * (count - 1) / max(1, columns - 1)) :][:1]
        else:
            chosen = values[column * count // columns : (column + 1) * count // columns]
        finite = [value for value in chosen if math.isfinite(value)]
        result.append(sum(finite) / len(finite) if finite else None)
    return result


def _strokes(rows: Sequence[int | None]) -> list[tuple[int, int]]:
    """Return for each column the first and the last row to fill, so that the line has no holes; for a gap, none."""
    strokes = []
    previous: int | None = None
    for row in rows:
        if row is None:
            strokes.append((0, -1))
        elif previous is None or abs(row - previous) <= 1:
            strokes.append((row, row))
        else:
            strokes.append((previous + 1, row) if row > previous else (row, previous - 1))
        previous = row
    return strokes
