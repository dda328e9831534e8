from __future__ import annotations

import pytest

from hvdtrain.sync.adasum import Config


@pytest.mark.parametrize("size", [2, 4, 8, 64])
def test_powers_of_two_under_mpi_can_be_combined(size: int) -> None:
    assert Config().problem(size, "mpi") is None


@pytest.mark.parametrize(("size", "advice"), [(3, "start 2 or 4"), (6, "start 4 or 8"), (12, "start 8 or 16")])
def test_other_numbers_are_told_their_neighbours(size: int, advice: str) -> None:
    assert advice in (Config().problem(size, "mpi") or "")


def test_gloo_is_refused() -> None:
    assert "--mpi" in (Config().problem(2, "gloo") or "")
