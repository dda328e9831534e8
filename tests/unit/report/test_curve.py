from __future__ import annotations

import math

from hvdtrain.report.curve import draw, resample


def dots(lines: list[str]) -> set[tuple[int, int]]:
    """The positions of the dots, from the top left."""
    bits = {
        0x01: (0, 0),
        0x02: (0, 1),
        0x04: (0, 2),
        0x40: (0, 3),
        0x08: (1, 0),
        0x10: (1, 1),
        0x20: (1, 2),
        0x80: (1, 3),
    }
    found = set()
    for row, line in enumerate(lines):
        for column, character in enumerate(line):
            code = 0 if character == " " else ord(character) - 0x2800
            found |= {(2 * column + x, 4 * row + y) for bit, (x, y) in bits.items() if code & bit}
    return found


def test_a_falling_line_goes_from_the_top_left_to_the_bottom_right() -> None:
    lines = draw([3.0, 2.0, 1.0], 10, 3)
    assert [len(line) for line in lines] == [10] * 3
    assert (0, 0) in dots(lines)
    assert (19, 11) in dots(lines)
    assert (0, 11) not in dots(lines)


def test_the_line_has_no_holes_where_it_jumps() -> None:
    lines = draw([0.0] * 10 + [1.0] * 10, 10, 4)
    assert {y for _, y in dots(lines)} == set(range(16))


def test_a_value_that_is_not_finite_leaves_a_gap() -> None:
    lines = draw([1.0, 2.0, math.nan, math.inf, 1.0, 2.0], 3, 1)
    assert {x for x, _ in dots(lines)} == {0, 1, 4, 5}


def test_nothing_and_a_flat_line_can_be_drawn() -> None:
    assert draw([], 4, 2) == [" " * 4] * 2
    assert draw([math.nan], 4, 2) == [" " * 4] * 2
    assert len({y for _, y in dots(draw([5.0, 5.0], 4, 2))}) == 1


def test_columns_of_a_long_curve_show_means_of_all_values() -> None:
    assert resample([1.0, 3.0, 5.0, 7.0], 2) == [2.0, 6.0]
    assert resample([1.0, 2.0], 4) == [1.0, 1.0, 2.0, 2.0]
