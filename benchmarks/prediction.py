"""The cost model's error: predicted against measured steps of 2, 3 and 4 workers on links of several rates.

    python benchmarks/prediction.py --rounds 3 --write

Hosts are network namespaces with a shaped link each (benchmarks/namespaces.py; Linux, as root); "loopback" is several
workers of one host. What a prediction is given: latency and bandwidth of the link, fitted to plain all-reduces of two
workers on it; and, because more workers than cores compute slower, of as many workers as it is for the step that they
do without synchronising, and how much computing and a plain all-reduce slow each other down. It is given nothing of a
synchronised step. Rounds are interleaved: every other one goes the other way.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median

from hvdtrain.launch.hosts import parse_hosts
from hvdtrain.launched import usable_cores
from hvdtrain.metrics.lines import from_dict, to_dict
from hvdtrain.metrics.records import TrialRecord
from hvdtrain.report.environment import processor
from hvdtrain.scaling.prediction.calibration import calibrate
from hvdtrain.scaling.prediction.links import UNLIMITED, Cluster
from hvdtrain.scaling.prediction.model import predict
from hvdtrain.scaling.sweep.analysis import step_seconds, unsynchronised_seconds
from hvdtrain.scaling.trial import Place, Task, run_trial

RECIPE = "gpt-shakespeare"
CHANGES = ("train.global_batch_size=null", "train.max_steps=1000000", "train.threads_per_worker=1")
LINKS = ("1Gbit", "200Mbit", "loopback")
WORKERS = (2, 3, 4)


def trial(hosts: str, workers: int, steps: int, changes: list[str]) -> list[TrialRecord]:
    """Run one trial here, on these hosts or on this machine."""
    place = Place(parse_hosts(hosts) if hosts else (), "gloo", {"network_interfaces": "eth0"} if hosts else {})
    task = Task(RECIPE, (*CHANGES, *changes), steps=steps, synthetic=True)
    return run_trial(task, workers, place)


def measure(link: str, workers: int, steps: int, changes: list[str]) -> list[TrialRecord]:
    """Run one trial on the loopback, or from the first of as many hosts as workers."""
    if link == "loopback":
        return trial("", workers, steps, changes)
    from namespaces import Lab

    with Lab(hosts=workers, rate=link.lower()) as lab:
        again = [sys.executable, __file__, "--trial", lab.slots(1), str(workers), "--steps", str(steps), *changes]
        done = lab.run("a", again, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    return [from_dict(values) for values in json.loads(done.stdout.splitlines()[-1])]  # type: ignore[misc]


def predicted(records: list[TrialRecord], two: list[TrialRecord]) -> float:
    """Return the step that the model gives for the workers of a trial, with the link as two workers found it."""
    own, link = calibrate(records).work, calibrate(two).work
    work = replace(own, software=replace(link.software, beside=own.software.beside), engine=link.engine)
    return predict(work, Cluster(len(records), UNLIMITED, cores=usable_cores())).step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    parser.add_argument("--trial", nargs=2, metavar=("HOSTS", "N"), help=argparse.SUPPRESS)
    parser.add_argument("changes", nargs="*", help="of the recipe")
    asked = parser.parse_args()
    if asked.trial:
        records = trial(asked.trial[0], int(asked.trial[1]), asked.steps, asked.changes)
        print(json.dumps([to_dict(record) for record in records]))
        return
    rows = run(asked.rounds, asked.steps, asked.changes)
    show(rows)
    if asked.write:
        write(rows, asked)


def run(rounds: int, steps: int, changes: list[str]) -> dict[tuple[str, int], list[dict[str, float]]]:
    """Measure and predict every case once a round."""
    found: dict[tuple[str, int], list[dict[str, float]]] = {(link, n): [] for link in LINKS for n in WORKERS}
    for number in range(rounds):
        order = list(found)[:: -1 if number % 2 else 1]
        trials = {(link, n): measure(link, n, steps, changes) for link, n in order}
        for (link, n), records in trials.items():
            case = {
                "floor": unsynchronised_seconds(records),
                "measured": step_seconds(records),
                "predicted": predicted(records, trials[link, 2]),
            }
            found[link, n].append(case)
            print(f"round {number + 1}, {link}, {n} workers: {case}", file=sys.stderr, flush=True)
    return found


def error(cases: list[dict[str, float]]) -> float:
    """Return the median over rounds of predicted / measured - 1."""
    return median(case["predicted"] / case["measured"] - 1 for case in cases)


def show(rows: dict[tuple[str, int], list[dict[str, float]]]) -> None:
    print("| link | workers | not synchronised | measured | predicted | error (range over rounds) |")
    print("|---|---|---|---|---|---|")
    for (link, n), cases in rows.items():
        floor, took, said = (1000 * median(c[name] for c in cases) for name in ("floor", "measured", "predicted"))
        errors = sorted(c["predicted"] / c["measured"] - 1 for c in cases)
        spread = f"{100 * errors[0]:+.1f} to {100 * errors[-1]:+.1f}"
        print(
            f"| {link} | {n} | {floor:.0f} ms | {took:.0f} ms | {said:.0f} ms "
            f"| {100 * error(cases):+.1f} % ({spread}) |"
        )
    worst = max(rows, key=lambda case: abs(error(rows[case])))
    mean = sum(abs(error(cases)) for cases in rows.values()) / len(rows)
    print(
        f"\nmean error {100 * mean:.1f} %, largest {100 * error(rows[worst]):+.1f} % ({worst[0]}, {worst[1]} workers)"
    )


def write(rows: dict[tuple[str, int], list[dict[str, float]]], asked: argparse.Namespace) -> None:
    path = Path(__file__).parent / "results" / f"prediction-{date.today()}.json"
    values = {
        "command": f"python benchmarks/prediction.py --rounds {asked.rounds} --steps {asked.steps}",
        "date": str(date.today()),
        "processor": processor(),
        "cores": usable_cores(),
        "recipe": [RECIPE, *CHANGES, *asked.changes],
        "cases": [{"link": link, "workers": n, "rounds": cases} for (link, n), cases in rows.items()],
    }
    path.write_text(json.dumps(values, indent=1) + "\n")
    print(f"written: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


if __name__ == "__main__":
    main()
