"""Rates, times and clusters as people write them."""

from __future__ import annotations

import pytest

from hvdtrain.errors import UserError
from hvdtrain.scaling.prediction.links import Cluster, Link, format_rate, parse_rate, parse_seconds


@pytest.mark.parametrize(
    ("text", "bytes_a_second"),
    [
        ("25Gbit", 25e9 / 8),
        ("25Gbit/s", 25e9 / 8),
        ("100Gbps", 100e9 / 8),
        ("10Gb/s", 10e9 / 8),
        ("200 mbit", 200e6 / 8),
        ("1.5e3kbit", 1.5e6 / 8),
        ("3GB/s", 3e9),
        ("800MB", 800e6),
        ("9600bit", 1200),
    ],
)
def test_rates_are_bits_with_a_small_b_and_bytes_with_a_capital_one(text: str, bytes_a_second: float) -> None:
    assert parse_rate(text) == pytest.approx(bytes_a_second)


@pytest.mark.parametrize(
    "text", ["25", "25G", "fast", "-1Gbit", "0Gbit", "1..5Gbit", "25Gibit", "25Gbit/h", "", "1e999Gbit"]
)
def test_a_rate_without_a_known_unit_names_option_value_and_form(text: str) -> None:
    with pytest.raises(
        UserError, match=r"--inner-link .*expected a rate with its unit, such as 200Mbit, 25Gbit"
    ) as error:
        parse_rate(text, "--inner-link")
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("20us", 20e-6), ("1.5ms", 1.5e-3), ("2s", 2.0), ("300ns", 3e-7), ("0us", 0.0)]
)
def test_times(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["20", "20m", "-1ms", "soon", "1.2.3s"])
def test_a_time_without_a_known_unit_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--step-time .*expected a time with its unit"):
        parse_seconds(text, "--step-time")


def test_a_link_carries_data_in_a_part_of_its_rate() -> None:
    assert Link(125e6, payload=0.95).seconds_per_byte == pytest.approx(1 / 118.75e6)
    assert format_rate(3.125e9) == "25 Gbit/s"
    assert format_rate(25e6) == "200 Mbit/s"


def test_hosts_are_counted_up_and_the_fullest_one_is_known() -> None:
    link = Link(1e9)
    assert (Cluster(10, link, per_host=4).hosts, Cluster(10, link, per_host=4).local) == (3, 4)
    assert (Cluster(3, link, per_host=4).hosts, Cluster(3, link, per_host=4).local) == (1, 3)


def test_impossible_clusters_are_refused() -> None:
    with pytest.raises(UserError, match="workers: 0"):
        Cluster(0, Link(1e9))
    with pytest.raises(UserError, match="10 workers: a hierarchical .* 4 a host leave 2 over"):
        Cluster(10, Link(1e9), per_host=4, hierarchical=True)
    Cluster(3, Link(1e9), per_host=4, hierarchical=True)  # one host: nothing is uneven
