"""What synchronising costs as work grows: step time, floor and sync tax by model size and by number of workers.

    python benchmarks/cost_of_size.py --rounds 3 --write
    python benchmarks/cost_of_size.py --sizes 1m 7m --workers 2 --rounds 1

Each trial is one launch of a recipe of recipes/bench with the recipe's own settings: its workers train a block of steps
as they are, and then one of as many steps without synchronising (`sync: {name: none}`), which is the floor. A trial's
step is the median step of the mean worker, and sync tax is that over the floor's, less one. A figure is the median over
rounds with its range. Every round begins with the next case, so that none is always first. Workers have one thread
each; more of them than cores take turns, and what they take says nothing of workers with cores of their own.

With --write each trial is kept as it ends, in benchmarks/results/cost-of-size-PRECISION-DATE.json, and is not made
again when the command is given again; --into names another file, such as that of the day before. Beside it, under the
same name, lie the table (.md) and the plot (.png).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
SIZES = {"1m": (20, 10.0), "7m": (20, 0.0), "50m": (8, 0.0), "120m": (5, 0.0)}
"""Steps of a block, and the seconds that it lasts at least; of larger models fewer are enough."""
WORKERS = (2, 3, 4)
WARMUP = 2


class Case(NamedTuple):
    """A size of the model and a number of workers."""

    size: str
    workers: int

    @property
    def key(self) -> str:
        """Its name in the file."""
        return f"{self.size}x{self.workers}"


def main() -> None:
    asked = parse()
    settings = settings_of(asked)
    path = (asked.into or HERE / "results" / f"cost-of-size-{asked.precision}-{date.today()}.json").resolve()
    trials: list[dict[str, Any]] = []
    if asked.write and path.exists():
        trials = stored(path, settings)
    cases = [Case(size, workers) for size in asked.sizes for workers in asked.workers]
    for case, number in turns(cases, asked.rounds):
        if any((one["case"], one["round"]) == (case.key, number) for one in trials):
            continue
        trials.append({"case": case.key, "round": number, "date": date.today().isoformat(), **measure(case, asked)})
        print(said(case, trials[-1]), flush=True)
        if asked.write:
            write(path, trials, settings)
    print(f"\n{table(summary(trials))}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--workers", nargs="+", type=int, default=list(WORKERS))
    parser.add_argument(
        "--steps", type=int, help=f"of a block ({', '.join(f'{n}: {s}' for n, (s, _) in SIZES.items())})"
    )
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--controller", choices=["gloo", "mpi"], help="else what horovodrun chooses")
    parser.add_argument("--override", action="append", default=[], metavar="KEY=VALUE", help="change to the recipes")
    parser.add_argument("--into", type=Path, metavar="FILE", help="with --write: keep, and continue, this one")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    asked = parser.parse_args(arguments)
    if min(asked.workers) < 2:
        parser.error("--workers: one worker synchronises with nobody; name two or more")
    if asked.into and not asked.write:
        parser.error("--into: says where to keep the result, which --write asks for")
    return asked


def settings_of(asked: argparse.Namespace) -> dict[str, Any]:
    """Return what trials must have in common to be of one table."""
    from peers.prepare import versions

    given = {name: getattr(asked, name) for name in ("precision", "controller", "override", "steps")}
    return given | {"versions": versions(("torch", "horovod", "hvdtrain"))}


def turns(cases: Sequence[Case], rounds: int) -> Iterator[tuple[Case, int]]:
    """Yield each case once a round; each round begins with the next case."""
    for number in range(rounds):
        first = number % len(cases)
        for case in (*cases[first:], *cases[:first]):
            yield case, number


def measure(case: Case, asked: argparse.Namespace) -> dict[str, Any]:
    """Launch a trial, and return its figures.

    Raises:
        SystemExit: a signal ended it; what was kept stays.
    """
    from hvdtrain.scaling.trial import ENDLESS, Place, Stopped, Task, run_trial

    steps, seconds = SIZES[case.size]
    task = Task(
        f"bench/gpt-{case.size}",
        (*ENDLESS, "train.threads_per_worker=1", f"train.precision={asked.precision}", *asked.override),
        warmup=WARMUP,
        steps=asked.steps or steps,
        seconds=0.0 if asked.steps else seconds,
        sweep=False,
        gradients=False,
    )
    try:
        return figures(run_trial(task, case.workers, Place((), asked.controller)))
    except Stopped as stopped:
        sys.exit(stopped.code)


def figures(records: Sequence[Any]) -> dict[str, Any]:
    """Return what is kept of a trial: seconds, bytes, and how it was run."""
    from hvdtrain.scaling.sweep.analysis import step_seconds, throughput, unsynchronised_seconds

    first = records[0]
    return {
        "step": step_seconds(records),
        "floor": unsynchronised_seconds(records),
        "steps": len(first.synchronised),
        "tokens_per_second": throughput(records)[1],
        "bytes_per_step": first.bytes_per_step,
        "allreduce_seconds": first.allreduce_seconds,
        "cores": first.cores,
        "controller": first.controller,
        "engine": dict(first.engine),
    }


def tax(trial: Mapping[str, Any]) -> float:
    """Return T(synchronised) / T(not synchronised) - 1."""
    return float(trial["step"] / trial["floor"] - 1)


def said(case: Case, trial: Mapping[str, Any]) -> str:
    """Return what a trial says."""
    return (
        f"round {trial['round'] + 1}, {case.size}, {case.workers} workers: step {1000 * trial['step']:.1f} ms, "
        f"floor {1000 * trial['floor']:.1f} ms, sync tax {100 * tax(trial):.1f} %"
    )


def stored(path: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the trials of a file that is to be continued.

    Raises:
        SystemExit: they were made with other settings.
    """
    known = json.loads(path.read_text())
    if known["settings"] != settings:
        sys.exit(f"{path}: holds trials with {known['settings']}, and these are {settings}; name another with --into")
    trials: list[dict[str, Any]] = known["trials"]
    return trials


def summary(trials: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each case that was measured, by size and workers: medians over rounds, with ranges."""
    rows = []
    for case in sorted({one["case"] for one in trials}, key=lambda key: (_place(key), _workers(key))):
        of = [one for one in trials if one["case"] == case]
        rows.append(
            {
                "size": case.partition("x")[0],
                "workers": _workers(case),
                "oversubscribed": _workers(case) > of[0]["cores"],
                "rounds": len(of),
                "bytes_per_step": of[0]["bytes_per_step"],
                "step": _spread([one["step"] for one in of]),
                "floor": _spread([one["floor"] for one in of]),
                "sync_tax": _spread([tax(one) for one in of]),
                "tokens_per_second": _spread([one["tokens_per_second"] for one in of]),
            }
        )
    return rows


def _place(key: str) -> int:
    return list(SIZES).index(key.partition("x")[0])


def _workers(key: str) -> int:
    return int(key.partition("x")[2])


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {"median": median(values), "range": [min(values), max(values)]}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a Markdown table; oversubscribed workers are marked."""
    lines = [
        "| parameters | workers | gradients | step | floor | sync tax (range over rounds) | rounds | tokens/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["sync_tax"]["range"]
        spread = f" ({100 * low:.1f} to {100 * high:.1f})" if row["rounds"] > 1 else ""
        lines.append(
            f"| {row['size'].upper().replace('M', ' M')} | {row['workers']}{' *' if row['oversubscribed'] else ''} "
            f"| {row['bytes_per_step'] / 1e6:,.1f} MB "
            f"| {1000 * row['step']['median']:,.1f} ms | {1000 * row['floor']['median']:,.1f} ms "
            f"| **{100 * row['sync_tax']['median']:.1f} %**{spread} | {row['rounds']} "
            f"| {row['tokens_per_second']['median']:,.0f} |"
        )
    if any(row["oversubscribed"] for row in rows):
        lines.append("\n\\* more workers than cores: they take turns.")
    return "\n".join(lines)


def write(path: Path, trials: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
    """Keep the trials, and beside them the table and the plot of all that there are."""
    from cost_of_size_plot import draw
    from peers.prepare import hardware

    rows = summary(trials)
    values = {
        "benchmark": "cost_of_size",
        "date": date.today().isoformat(),
        "command": f"python benchmarks/cost_of_size.py {' '.join(sys.argv[1:])}".strip(),
        "hardware": hardware(),
        "settings": settings,
        "rows": rows,
        "trials": trials,
    }
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(values, indent=1) + "\n")
    unfinished.rename(path)
    path.with_suffix(".md").write_text(
        f"{values['command']}\n{values['date']}, {values['hardware']}\n\n{table(rows)}\n"
    )
    path.with_suffix(".png").write_bytes(draw(rows))


if __name__ == "__main__":
    main()
