"""Each cause of bad scaling is created on purpose, with real workers, and must be the first that is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from namespaces import lab_problem
from planted import CASES, REFUSALS, Case, Refusal

pytest.importorskip("horovod.torch", reason="Horovod is not installed")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.planted.replace(" ", "-"))
def test_a_planted_cause_is_named_first(tmp_path: Path, case: Case) -> None:
    if case.problem():
        pytest.skip(f"can't be made here: {case.problem()}")
    report = case.report(tmp_path)
    (diagnosis,) = report["diagnoses"]
    named = [finding["cause"] for finding in diagnosis["findings"]]
    assert named[:1] == ([case.named] if case.named else []), diagnosis
    if not case.named:
        assert diagnosis["verdict"].startswith("Nothing is worth changing")
    if case.named == "slow-worker":
        assert diagnosis["findings"][0]["title"].startswith("Worker 1 is slow")
    if case.named == "oversubscription":
        assert all(size["oversubscribed"] for size in report["sizes"])
    if case.named == "thin-link":
        assert [size["hosts"] for size in report["sizes"]] == [1, 2]
        # 200 Mbit/s are 25 MB/s, and of two workers each sends and receives all bytes once.
        assert report["sizes"][1]["link_bandwidth"] == pytest.approx(25e6, rel=0.15)


@pytest.mark.namespaces
@pytest.mark.skipif(lab_problem() is not None, reason=f"no hosts can be made: {lab_problem()}")
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.planted.replace(" ", "-"))
def test_a_fault_of_the_hosts_is_found_before_the_start(tmp_path: Path, refusal: Refusal) -> None:
    assert refusal.named in refusal.message(tmp_path)
