"""RNN, LSTM and transformer as language models of Shakespeare: equal tokens, equal parameters, equal search.

    python benchmarks/language_models.py               # about 20 minutes on two cores; goes on where it was stopped
    python benchmarks/language_models.py --steps 6 --lr 1e-3 --output /tmp/try.json        # does it work?

Trains rnn-shakespeare, lstm-shakespeare and gpt-shakespeare for a third of their updates with every learning rate
(falling to a tenth of it), the models taking turns, so that a machine that slows down does so for all. Then each model
is trained in full with the rate of its lowest validation loss, once for each seed; a seed also draws other works for
validation. The table gives validation loss and bits per byte of the full runs, with their range over the seeds, and
their median tokens/s. What was run is written to the results file after each run; started again, it does what is
missing, unless the machine, the versions or the options are others: then it asks for --fresh.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median
from typing import Any

from hvdtrain.recipe import load
from hvdtrain.report.environment import processor

RESULTS = Path(__file__).parent / "results" / "language_models.json"
RECIPES = ("rnn-shakespeare", "lstm-shakespeare", "gpt-shakespeare")
PARAMETERS_WITHIN = 0.05
SEARCH_SHARE = 3
"""A search runs one in so many of the updates."""


@dataclass(frozen=True)
class Run:
    """One training, and what it reached on validation."""

    recipe: str
    lr: float
    seed: int
    steps: int
    loss: float
    bits_per_byte: float
    tokens: int
    tokens_per_second: float
    seconds: float
    parameters: int
    precision: str


def train(recipe: str, lr: float, seed: int, steps: int, workers: int) -> Run:
    """Train a recipe for some updates in a folder that is removed afterwards."""
    usual = load(recipe).recipe
    warmup = usual.lr_scheduler.warmup_steps * steps // (usual.train.max_steps or steps)
    with tempfile.TemporaryDirectory() as folder:
        changes = [
            f"output_dir={folder}/run",
            f"seed={seed}",
            f"optimizer.lr={lr}",
            f"lr_scheduler.min_lr={lr / 10:g}",
            f"lr_scheduler.warmup_steps={warmup}",
            f"train.max_steps={steps}",
            f"train.eval_interval={steps}",
            "train.save_interval=0",
            f"train.log_interval={min(10, max(1, steps // 3))}",
            "task.sample_tokens=0",
        ]
        command = ["-m", "hvdtrain", "launch", "-np", str(workers), "--resume", "never", recipe, *changes]
        finished = subprocess.run(
            [sys.executable, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if finished.returncode:
            sys.exit(f"{recipe} failed:\n{finished.stdout[-2000:]}\n{finished.stderr[-2000:]}")
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
    events: dict[str, Any] = {record["event"]: record for record in map(json.loads, lines)}
    start, end = events["start"], events["end"]
    return Run(
        recipe=recipe,
        lr=lr,
        seed=seed,
        steps=steps,
        loss=end["metrics"]["loss"],
        bits_per_byte=end["metrics"]["bits_per_byte"],
        tokens=end["tokens"],
        tokens_per_second=end["tokens_per_second"],
        seconds=round(end["elapsed"], 1),
        parameters=start["parameters"],
        precision=start["precision"],
    )


class Record:
    """The runs that there are, in a file that is rewritten after each."""

    def __init__(self, path: Path, options: argparse.Namespace) -> None:
        self.path = path
        self.workers: int = options.workers
        self.runs: list[Run] = []
        self.rows: dict[str, dict[str, Any]] = {}
        self._conditions = {
            "hardware": f"{os.cpu_count()} cores, {platform.machine()}, {processor()}",
            "versions": {name: version(name) for name in ("torch", "horovod", "hvdtrain")},
            "workers": options.workers,
            "rates": options.lr,
            "seeds": options.seeds,
            "steps": options.steps,
        }
        if path.exists() and not options.fresh:
            known = json.loads(path.read_text())
            changed = [name for name, value in self._conditions.items() if known.get(name) != value]
            if changed:
                sys.exit(f"{path} holds runs with other {', '.join(changed)}: add --fresh to replace them")
            self.runs = [Run(**run) for run in known["runs"]]

    def run(self, recipe: str, lr: float, seed: int, steps: int) -> Run:
        """Return the run of these settings, which is made where there is none."""
        for known in self.runs:
            if (known.recipe, known.lr, known.seed, known.steps) == (recipe, lr, seed, steps):
                return known
        run = train(recipe, lr, seed, steps, self.workers)
        self.runs.append(run)
        self.write()
        print(
            f"{recipe} lr {lr:g} seed {seed} {steps} updates: loss {run.loss:.4f}, "
            f"{run.bits_per_byte:.4f} bits per byte, {run.seconds:.0f} s",
            flush=True,
        )
        return run

    def write(self) -> None:
        """Write all that is known; `models` is empty until everything was run."""
        arguments = " ".join(sys.argv[1:])
        result = {
            "benchmark": "language-models",
            "date": datetime.date.today().isoformat(),
            "command": f"python benchmarks/language_models.py {arguments}".rstrip(),
            **self._conditions,
            "models": self.rows,
            "runs": [asdict(run) for run in self.runs],
        }
        self.path.write_text(json.dumps(result, indent=1) + "\n")


def check_equal(runs: list[Run]) -> None:
    """Stop where the models were not given the same number of tokens, or are not of the same size."""
    sizes, tokens = {run.recipe: run.parameters for run in runs}, {run.tokens for run in runs}
    if max(sizes.values()) > (1 + PARAMETERS_WITHIN) * min(sizes.values()) or len(tokens) > 1:
        sys.exit(f"not comparable: parameters {sizes}, tokens {sorted(tokens)}")


def summary(runs: list[Run], rates: list[float]) -> dict[str, Any]:
    """Return the row of a model from its full runs, one a seed."""

    def spread(values: list[float]) -> dict[str, Any]:
        return {"mean": fmean(values), "range": [min(values), max(values)]}

    best, speeds = runs[0].lr, [run.tokens_per_second for run in runs]
    return {
        "parameters": runs[0].parameters,
        "tokens": runs[0].tokens,
        "lr": best,
        "lr_at_the_edge_of_the_search": len(rates) > 1 and best in (min(rates), max(rates)),
        "loss": spread([run.loss for run in runs]),
        "bits_per_byte": spread([run.bits_per_byte for run in runs]),
        "tokens_per_second": {"median": median(speeds), "range": [min(speeds), max(speeds)]},
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return the rows as Markdown, the best model first."""
    lines = [
        "| model | parameters | learning rate | validation loss | bits per byte | tokens/s |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in sorted(rows.items(), key=lambda item: float(item[1]["loss"]["mean"])):
        loss, bits = (_with_range(row[what]) for what in ("loss", "bits_per_byte"))
        lr = f"{row['lr']:g}" + (" (edge of the search)" if row["lr_at_the_edge_of_the_search"] else "")
        speed = f"{row['tokens_per_second']['median']:,.0f}"
        lines.append(f"| {name} | {row['parameters']:,} | {lr} | {loss} | {bits} | {speed} |")
    return "\n".join(lines)


def _with_range(spread: dict[str, Any]) -> str:
    low, high = spread["range"]
    return f"{spread['mean']:.3f}" + (f" ({low:.3f} to {high:.3f})" if low < high else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lr", type=float, nargs="+", default=[5e-4, 1e-3, 2e-3, 4e-3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1234], help="the first one also searches")
    parser.add_argument("--steps", type=int, help="updates of a full run, in place of the recipes' own")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS, help="the file of results")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever the file of results holds")
    options = parser.parse_args()

    steps = int(options.steps or load(RECIPES[-1]).recipe.train.max_steps or 0)
    record = Record(options.output, options)
    seed, short = options.seeds[0], max(1, steps // SEARCH_SHARE)
    search = [record.run(name, lr, seed, short) for lr in options.lr for name in RECIPES]
    check_equal(search)
    best = {name: min((r for r in search if r.recipe == name), key=lambda r: r.loss).lr for name in RECIPES}
    full = [record.run(name, best[name], seed, steps) for seed in options.seeds for name in RECIPES]
    check_equal(full)
    record.rows = {name: summary([r for r in full if r.recipe == name], options.lr) for name in RECIPES}
    record.write()
    print(table(record.rows))
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
