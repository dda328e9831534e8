"""What hvdtrain's loop costs: tokens/s of `hvdtrain train` against a bare hand-written Horovod loop, interleaved.

    python benchmarks/overhead.py [--rounds 5] [--steps 60] [--workers 2] [--recipe gpt-shakespeare] [--precision fp32]
                                  [--write] [OVERRIDE ...]

Both sides run the same model, batches, precision, threads and engine knobs under horovodrun, one after the other, in
alternating order. A side's figure in a round is the median tokens/s over its windows of 10 steps after the first; the
result is the median of the rounds' ratios with its range. Time is wall time on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
WINDOW = 10
KNOBS = {"HOROVOD_CYCLE_TIME": "20", "HOROVOD_FUSION_THRESHOLD": str(32 * 2**20)}


def run(workers: int, *arguments: str) -> str:
    """Run Python with the arguments on Gloo workers and return what they printed."""
    environment = os.environ | KNOBS | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    finished = subprocess.run(
        ["horovodrun", "-np", str(workers), "--gloo", sys.executable, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        sys.exit(finished.stdout + finished.stderr)
    return finished.stdout


def hvdtrain(options: argparse.Namespace) -> float:
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            f"output_dir={folder}/run",
            f"train.max_steps={options.steps}",
            f"train.log_interval={WINDOW}",
            "train.eval_interval=0",
            "train.save_interval=0",
            f"train.precision={options.precision}",
        ]
        run(options.workers, "-m", "hvdtrain", "train", options.recipe, *overrides, *options.override)
        records = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
    return median([r["tokens_per_second"] for r in records if r["event"] == "step"][1:])


def bare(options: argparse.Namespace) -> float:
    script = str(HERE / "bare_loop.py")
    precision = f"train.precision={options.precision}"
    output = run(options.workers, script, options.recipe, str(options.steps), str(WINDOW), precision, *options.override)
    match = re.search(r'\{"tokens_per_second".*\}', output)
    assert match is not None, output
    return median(json.loads(match[0])["tokens_per_second"][1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--recipe", default="gpt-shakespeare")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--write", action="store_true", help="write the result to benchmarks/results/")
    parser.add_argument("override", nargs="*", help="changes to the recipe, for both sides")
    options = parser.parse_args()
    rounds = []
    for number in range(options.rounds):
        sides = {"hvdtrain": hvdtrain, "bare": bare}
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        rounds.append({side: sides[side](options) for side in order})
        ours, theirs = rounds[-1]["hvdtrain"], rounds[-1]["bare"]
        print(
            f"round {number + 1}: hvdtrain {ours:.0f}, bare {theirs:.0f} tokens/s, ratio {ours / theirs:.3f}",
            flush=True,
        )
    ratios = [r["hvdtrain"] / r["bare"] for r in rounds]
    result = {
        "benchmark": "overhead",
        "date": date.today().isoformat(),
        "command": f"python benchmarks/overhead.py {' '.join(sys.argv[1:])}".strip(),
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}, {cpu_name()}",
        "versions": {name: version(name) for name in ("torch", "horovod", "hvdtrain")},
        "knobs": KNOBS,
        "tokens_per_second": {
            side: {
                "median": median(r[side] for r in rounds),
                "range": [min(r[side] for r in rounds), max(r[side] for r in rounds)],
            }
            for side in ("hvdtrain", "bare")
        },
        "ratio": {"median": median(ratios), "range": [min(ratios), max(ratios)]},
        "rounds": rounds,
    }
    print(f"ratio {median(ratios):.3f} (range {min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} rounds)")
    if options.write:
        path = HERE / "results" / f"overhead-{options.precision}-{result['date']}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"wrote {path}")


def cpu_name() -> str:
    """Return what the CPU calls itself."""
    names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
