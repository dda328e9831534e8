from __future__ import annotations

import math

import pytest

from hvdtrain.report import format as fmt


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (5, "5"),
        (999, "999"),
        (999.4, "999"),
        (999.6, "1 k"),
        (1000, "1 k"),
        (1499, "1.5 k"),
        (6_816_000, "6.82 M"),
        (999_700_000, "1 G"),
        (1.21e9, "1.21 G"),
        (3.4e16, "34 P"),
        (-2_000_000, "-2 M"),
        (math.nan, "nan"),
    ],
)
def test_quantities_have_three_digits_and_the_prefix_that_fits(value: float, text: str) -> None:
    assert fmt.quantity(value) == text


def test_sizes_are_decimal() -> None:
    assert fmt.size(1_213_000_000) == "1.21 GB"
    assert fmt.size(512) == "512 B"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (245, "4:05"), (3723, "1:02:03"), (183_840, "2d 03:04"), (-3, "0:00")],
)
def test_durations_read_as_on_a_clock(value: float, text: str) -> None:
    assert fmt.duration(value) == text


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_an_unknown_duration_is_a_dash(value: float | None) -> None:
    assert fmt.duration(value) == "-"


@pytest.mark.parametrize(
    ("value", "text"), [(2e-5, "20 us"), (0.0629, "62.9 ms"), (0.9999, "1 s"), (12.34, "12.3 s"), (4000, "1:06:40")]
)
def test_short_times_have_their_unit(value: float, text: str) -> None:
    assert fmt.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (math.nan, "nan"), (math.inf, "inf"), (3.41204, "3.4120"), (1234567.0, "1.235e+06")],
)
def test_losses(value: float | None, text: str) -> None:
    assert fmt.loss(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (1.9, "1.900"), (33.823, "33.82"), (4321.9, "4,322"), (1e9, "1.00e+09"), (1e-6, "1.00e-06")],
)
def test_metrics_keep_four_digits(value: float, text: str) -> None:
    assert fmt.metric(value) == text


def test_groups_cover_every_phase_once_so_that_shares_sum_to_one() -> None:
    times = {
        "step": 2.0,
        "data": 0.1,
        "forward": 0.5,
        "backward": 0.9,
        "communication": 0.2,
        "imbalance": 0.1,
        "optimizer": 0.1,
    }
    times["other"] = 2.0 - sum(value for name, value in times.items() if name != "step")
    shares = fmt.group_shares(times)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["compute"] == pytest.approx(0.75)


@pytest.mark.parametrize("times", [{}, {"step": 0.0}, {"forward": 1.0}, {"step": math.nan}])
def test_unknown_step_times_have_no_shares(times: dict[str, float]) -> None:
    assert fmt.group_shares(times) == {}
    assert fmt.phase_shares(times) == {}


def test_foreign_text_can_not_drive_the_terminal() -> None:
    assert fmt.clean("a\x1b[31mred\x1b[0m\x07\x1b]0;title\x07\r\u202eb\tc\nd") == "ared]0;titleb\tc\nd"


def test_engine_knobs_have_units() -> None:
    knobs = {"HOROVOD_FUSION_THRESHOLD": "33554432 (auto)", "HOROVOD_CYCLE_TIME": "20 (recipe)", "HOROVOD_X_Y": "1"}
    assert fmt.engine(knobs) == "fusion 32 MiB (auto), cycle 20 ms (recipe), x y 1"


def test_an_excerpt_has_no_more_than_one_empty_line_in_a_row() -> None:
    assert fmt.excerpt("\n\n a\n\n\n \n\nb\nc\n\nd\x07\n") == " a\n\nb\nc\n\nd"
