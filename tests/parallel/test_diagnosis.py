"""Each cause of bad scaling is created on purpose, with real workers, and must be the first that is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from namespaces import lab_problem
from planted import CASES, REFUSALS, Case, Refusal

pytest.importorskip("horovod.torch", reason="Horovod is not installed")
pytestmark = pytest.mark.alone


def named(report: dict[str, Any]) -> list[str]:
    (diagnosis,) = report["diagnoses"]
    return [finding["cause"] for finding in diagnosis["findings"]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.planted.replace(" ", "-"))
def test_a_planted_cause_is_named_first(tmp_path: Path, case: Case) -> None:
    if case.problem():
        pytest.skip(f"can't be made here: {case.problem()}")
    expected = [case.named] if case.named else []
    report = case.report(tmp_path)
    if named(report)[:1] != expected:
        # One launch a size on a machine that others share: what happened by chance does not happen twice.
        (tmp_path / "again").mkdir()
        report = case.report(tmp_path / "again")
    (diagnosis,) = report["diagnoses"]
    assert named(report)[:1] == expected, diagnosis
    if not case.named:
        assert diagnosis["verdict"].startswith("Nothing is worth changing")
    if case.named == "slow-worker":
        assert diagnosis["findings"][0]["title"].startswith("Worker 1 is slow")
    if case.named == "oversubscription":
        assert all(size["oversubscribed"] for size in report["sizes"])
    if case.named == "thin-link":
        assert [size["hosts"] for size in report["sizes"]] == [1, 2]
        # Of two workers each sends and receives all bytes once, over 25 MB/s.
        assert report["sizes"][1]["link_bandwidth"] < 26e6


@pytest.mark.namespaces
@pytest.mark.skipif(lab_problem() is not None, reason=f"no hosts can be made: {lab_problem()}")
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.planted.replace(" ", "-"))
def test_a_fault_of_the_hosts_is_found_before_the_start(tmp_path: Path, refusal: Refusal) -> None:
    assert refusal.named in refusal.message(tmp_path)
