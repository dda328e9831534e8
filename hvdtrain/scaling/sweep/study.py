"""A sweep's study: everything that its trials say, in one object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hvdtrain.metrics.study import Study
from hvdtrain.report import format as fmt
from hvdtrain.scaling.sweep import analysis
from hvdtrain.scaling.sweep.losses import foreign
from hvdtrain.scaling.sweep.plan import Size
from hvdtrain.scaling.sweep.store import Trial

DISTURBED = 0.1
"""Part of a host's cores that other programs may take before a study says so."""


def make_study(sizes: Sequence[Size], trials: Sequence[Trial], settings: Mapping[str, Any]) -> Study:
    """Return the study; sizes that were not measured yet are named in its notes.

    Args:
        sizes: those of the sweep, measured or not.
        trials: what was measured.
        settings: the other fields of the study, such as its name and command.
    """
    found = analysis.results(sizes, trials)
    swept = tuple(one for size, one in found if not size.all_cores)
    laws, reasons = analysis.laws(swept)
    records = [record for trial in trials for record in trial.records]
    largest = max(records, key=lambda record: record.world_size, default=None)
    missing = [str(size) for size in sizes if not any(trial.key == size.key for trial in trials)]
    notes = [
        *_without_baseline(sizes, trials),
        *reasons,
        *dict.fromkeys(note for record in records for note in record.notes),
    ]
    notes += _disturbed(trials)
    notes += [f"not measured yet: {', '.join(missing)}"] if missing else []
    oversubscribed = [f"{size.workers} workers: {size.oversubscribed}" for size in sizes if size.oversubscribed]
    if oversubscribed:
        notes.append(f"oversubscribed, so that workers wait for cores: {'; '.join(dict.fromkeys(oversubscribed))}")
    facts: dict[str, Any] = {}
    if largest is not None:
        facts = {
            "device": largest.device,
            "precision": largest.precision,
            "controller": largest.controller,
            "engine": dict(largest.engine),
            "peak_flops": largest.peak_flops,
            "peak_source": largest.peak_source,
        }
    return Study(
        **{**settings, **facts},
        sizes=swept,
        all_cores=next((one for size, one in found if size.all_cores), None),
        diagnoses=tuple(analysis.diagnoses(sizes, trials)),
        laws=tuple(laws),
        failures=tuple(analysis.failures(sizes, trials)),
        notes=tuple(notes),
    )


def _without_baseline(sizes: Sequence[Size], trials: Sequence[Trial]) -> list[str]:
    return [
        f"{mode} scaling: no efficiency and no diagnosis, for one worker was not measured"
        for mode in dict.fromkeys(size.mode for size in sizes)
        if not analysis.baseline(mode, sizes, trials)
    ]


def _disturbed(trials: Sequence[Trial]) -> list[str]:
    shares = [
        max(foreign(trial.records, block) for block in ("synchronised", "floor")) for trial in trials if trial.records
    ]
    disturbed = [share for share in shares if share > DISTURBED]
    if not disturbed:
        return []
    return [
        f"not alone: in {len(disturbed)} of {len(shares)} launches other programs took up to "
        f"{fmt.percent(max(disturbed))} of the cores, and the figures are as unsure as that"
    ]
