from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hvdtrain.metrics.records import PHASES, TrialRecord
from hvdtrain.metrics.study import Study
from hvdtrain.scaling.sweep import analysis
from hvdtrain.scaling.sweep.plan import Size
from hvdtrain.scaling.sweep.store import Trial
from hvdtrain.scaling.sweep.study import make_study

SETTINGS = {
    "name": "x", "recipe": "x.yaml", "created": "2026-11-25", "command": "hvdtrain scale x", "repeats": 5, "steps": 10,
}  # fmt: skip
ONE = Size("weak", 1, 1, ())
TWO = Size("weak", 2, 1, ())
FOUR = Size("weak", 4, 1, (), oversubscribed="4 workers x 1 thread on 2 cores")


@pytest.fixture
def trials(make_trial: Callable[..., TrialRecord], make_steps: Callable[..., Any]) -> list[Trial]:
    """Five launches of one worker and of two, of which the second computes a little longer in each launch."""
    made = []
    for repeat in range(5):
        made.append(Trial("weak-1x1", repeat, (make_trial(),)))
        slow = {"synchronised": make_steps(10, forward=0.1 + 0.005 * repeat, wait=0.015)}
        fast = {"synchronised": make_steps(10, wait=0.015 + 0.005 * repeat)}
        made.append(Trial("weak-2x1", repeat, (make_trial(0, 2, **slow), make_trial(1, 2, **fast))))
    return made


def test_throughput_is_all_workers_samples_over_the_slowest_wall(make_trial: Callable[..., TrialRecord]) -> None:
    workers = [make_trial(0, 2, wall=4.0), make_trial(1, 2, wall=5.0)]
    assert analysis.throughput(workers) == (16 * 10 / 5.0, 2048 * 10 / 5.0)


def test_the_split_sums_to_the_step_and_efficiency_is_paired_by_repeat(trials: list[Trial]) -> None:
    (_, one), (_, two) = analysis.results([ONE, TWO], trials)
    for found in (one, two):
        assert sum(found.split[name] for name in PHASES) == pytest.approx(found.split["step"])
    assert two.split["imbalance"] == pytest.approx(0.005, rel=0.01)  # half of the mean difference of 10 ms
    assert one.efficiency is not None
    assert one.efficiency.median == 1.0
    assert two.efficiency is not None
    assert two.efficiency.median == pytest.approx(0.311 / (0.311 + 0.015 + 0.010))
    assert two.efficiency.kind == "95 % bootstrap interval"
    assert two.efficiency.low == pytest.approx(0.311 / (0.311 + 0.015 + 0.020))
    assert two.efficiency.high == pytest.approx(0.311 / (0.311 + 0.015))
    assert two.speedup is not None
    assert two.karp_flatt == pytest.approx(1 / two.efficiency.median - 1)


def test_sync_tax_and_contention_are_against_workers_that_do_not_synchronise(
    make_trial: Callable[..., TrialRecord], make_steps: Callable[..., Any]
) -> None:
    crowded = {"floor": make_steps(10, backward=0.3), "synchronised": make_steps(10, backward=0.3, wait=0.04)}
    trials = [
        Trial("weak-1x1", 0, (make_trial(),)),
        Trial("weak-2x1", 0, (make_trial(0, 2, **crowded), make_trial(1, 2, **crowded))),
    ]
    two = analysis.results([ONE, TWO], trials)[1][1]
    assert two.contention == pytest.approx(0.1)
    assert two.sync_tax == pytest.approx(0.04 / 0.411)
    assert two.efficiency is not None
    assert two.efficiency.kind == "one launch"


def test_strong_efficiency_is_of_times(make_trial: Callable[..., TrialRecord], make_steps: Callable[..., Any]) -> None:
    half = {"synchronised": make_steps(10, forward=0.05, backward=0.1, wait=0.05, optimizer=0.01), "samples": 8}
    trials = [
        Trial("strong-1x1", 0, (make_trial(),)),
        Trial("strong-2x1", 0, (make_trial(0, 2, **half), make_trial(1, 2, **half))),
    ]
    sizes = [Size("strong", 1, 1, ()), Size("strong", 2, 1, ())]
    two = analysis.results(sizes, trials)[1][1]
    assert two.efficiency is not None
    assert two.efficiency.median == pytest.approx(0.311 / (2 * 0.211))
    # Alone, half of data, forward and backward and the whole optimizer's step would take 160.5 ms, not 155.5.
    assert two.contention == pytest.approx(0.311 - 0.1605)


def test_the_links_bandwidth_leaves_the_wait_for_the_engine_out(make_trial: Callable[..., TrialRecord]) -> None:
    found = analysis.plain_bandwidth([make_trial(0, 2), make_trial(1, 2)])
    assert found == pytest.approx(20e6 / (0.028 - (0.018 - 0.001)) * 2 * 1 / 2)


def test_a_study_names_what_failed_what_is_missing_and_why_nothing_was_fitted(trials: list[Trial]) -> None:
    failed = Trial("weak-4x1", 0, error="worker 3 was ended by SIGKILL")
    eight = Size("weak", 8, 1, ())
    study = make_study([ONE, TWO, FOUR, eight], [*trials, failed], SETTINGS)
    assert [size.workers for size in study.sizes] == [1, 2]
    assert [(f.workers, f.message) for f in study.failures] == [(4, "worker 3 was ended by SIGKILL")]
    assert any("not measured yet: 8 workers, weak" in note for note in study.notes)
    assert any("2 sizes" in note and "no fit under 4" in note for note in study.notes)
    assert study.laws == ()
    assert Study.model_validate_json(study.model_dump_json()) == study


def test_other_programs_are_named(trials: list[Trial], make_trial: Callable[..., TrialRecord]) -> None:
    busy = {"floor": {"wall": 3.0, "own": 2.0, "machine": 20.0}}
    disturbed = Trial("weak-1x1", 5, (make_trial(processor=busy),))
    assert not any("not alone" in note for note in make_study([ONE, TWO], trials, SETTINGS).notes)
    notes = make_study([ONE, TWO], [*trials, disturbed], SETTINGS).notes
    assert any("in 1 of 11 launches other programs took up to 75 %" in note for note in notes)


def test_without_one_worker_the_study_says_what_is_missing(trials: list[Trial]) -> None:
    without = [trial for trial in trials if trial.key != "weak-1x1"] + [Trial("weak-1x1", 0, error="no memory")]
    study = make_study([ONE, TWO], without, SETTINGS)
    assert study.sizes[0].efficiency is None
    assert study.diagnoses == ()
    assert any("no efficiency and no diagnosis, for one worker was not measured" in note for note in study.notes)
    assert not any("not measured yet" in note for note in study.notes)


def test_one_worker_with_all_cores_is_no_size(make_trial: Callable[..., TrialRecord], trials: list[Trial]) -> None:
    everything = Size("weak", 1, 8, (), all_cores=True)
    quick = Trial(everything.key, 0, (make_trial(threads=8, wall=1.0),))
    study = make_study([ONE, TWO, everything], [*trials, quick], SETTINGS)
    assert [size.workers for size in study.sizes] == [1, 2]
    assert study.all_cores is not None
    assert study.all_cores.tokens_per_second.median == 10240
