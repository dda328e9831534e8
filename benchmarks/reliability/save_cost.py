"""What saving costs a run: the share of its time that goes into checkpoints, and into what comes before each.

    python benchmarks/reliability/save_cost.py [--recipe bench/gpt-7m] [--steps 300] [--interval 100] [--workers 2]

Trains under real horovodrun with train.save_interval as asked and no evaluations. `writing` are the seconds in which
worker 0 writes, syncs and renames (of each checkpoint's record). `pauses` are all the time that is no update's: that,
the snapshot, the check for weights that are no numbers, and the comparison of the workers' models. Both are shares of
the whole run. One line in benchmarks/results/reliability/save-cost.jsonl.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from job import PYTHON, run
from ledger import Ledger


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="bench/gpt-7m")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--interval", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        often = (f"train.save_interval={asked.interval}", "train.eval_interval=0", "train.log_interval=10")
        length = ("train.epochs=null", "train.max_tokens=null", f"train.max_steps={asked.steps}")
        start = [PYTHON, "-m", "hvdtrain", "launch", "--plain", "-np", str(asked.workers), asked.recipe]
        finished = run([*start, *often, *length, f"output_dir={folder}/run"], timeout=3000)
        if finished.returncode:
            raise SystemExit(finished.stdout + finished.stderr)
        records = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
    saved = [record for record in records if record["event"] == "checkpoint"]
    steps = [record for record in records if record["event"] == "step"]
    elapsed = next(record["elapsed"] for record in records if record["event"] == "end")
    training = sum(record["seconds"]["step"] * 10 for record in steps)
    found = {
        "writing": sum(record["seconds"] for record in saved) / elapsed,
        "pauses": 1 - training / elapsed,
        "checkpoint_bytes": saved[-1]["bytes"],
        "checkpoint_seconds": [record["seconds"] for record in saved],
        "elapsed": elapsed,
    }
    Ledger("save-cost").add(
        recipe=asked.recipe, interval=asked.interval, steps=asked.steps, workers=asked.workers, **found
    )
    print(f"writing {100 * found['writing']:.2f} %, all pauses {100 * found['pauses']:.2f} % of {elapsed:.0f} s")


if __name__ == "__main__":
    main()
