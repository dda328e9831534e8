"""Strategies of synchronisation side by side where the network is fast and where it is not.

    python benchmarks/strategies.py --write

Two hosts of one worker each (benchmarks/namespaces.py: network namespaces; Linux, as root), on a core each, over Gloo:
with a link that carries what it can, one of 1 Gbit/s and one of 200 Mbit/s. On each `hvdtrain compare` trains every
strategy that is registered, in rounds. What a slow link changes is the order.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from namespaces import Lab, lab_problem

from hvdtrain.launched import usable_cores

HERE = Path(__file__).parent
RECIPE = "gpt-shakespeare"
LINKS = ("unshaped", "1gbit", "200mbit")


def compare(link: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Return the comparison over one link.

    Raises:
        RuntimeError: it failed; with what it wrote.
    """
    rate = None if link == "unshaped" else link
    with tempfile.TemporaryDirectory() as folder, Lab(hosts=2, rate=rate, cores=["0", "1"]) as lab:
        command = [sys.executable, "-m", "hvdtrain", *line(asked), "-H", lab.slots(1), "--output", folder]
        done = lab.run("a", command, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=3600, stderr=subprocess.STDOUT)
        written = Path(folder) / "comparison.json"
        if done.returncode not in (0, 1) or not written.exists():
            raise RuntimeError(f"{link}: {done.stdout}")
        found: dict[str, Any] = json.loads(written.read_text())
    return found


def line(asked: argparse.Namespace) -> list[str]:
    """Return the arguments of hvdtrain that all links share."""
    numbers = ["--steps", str(asked.steps), "--rounds", str(asked.rounds), "--warmup", str(asked.warmup)]
    chosen = [part for text in asked.sync for part in ("--sync", text)]
    return [
        "compare",
        asked.recipe,
        "-np",
        "2",
        "--gloo",
        "--network-interfaces=eth0",
        *chosen,
        *numbers,
        *asked.changes,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="*", help="changes to the recipe")
    parser.add_argument("--recipe", default=RECIPE)
    parser.add_argument(
        "--sync", action="append", default=[], help="as hvdtrain compare has it; default: all there are"
    )
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--links", default=",".join(LINKS), help="rates as tc writes them, with commas")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    asked = parser.parse_args()
    if problem := lab_problem():
        parser.exit(2, f"no hosts can be made here: {problem}\n")
    found = {}
    for link in asked.links.split(","):
        found[link] = compare(link, asked)
        show(link, found[link])
    if asked.write:
        write(found, asked)


def show(link: str, comparison: dict[str, Any]) -> None:
    """Print one link's table."""
    print(f"\n{link}: {' '.join(comparison['verdict'])}\n")
    print("| strategy | step, ms | range | sync tax | bytes | sent | validation | memory | state |")
    print("|---|---:|---|---:|---:|---:|---:|---:|---:|")
    for one in comparison["results"]:
        step, tax = one["step"], one["sync_tax"]
        share = "" if tax is None else f"{100 * tax['median']:.1f} %"
        times = f"{1e3 * step['median']:.0f} | {1e3 * step['low']:.0f} to {1e3 * step['high']:.0f}"
        print(
            f"| {one['strategy']} | {times} | {share} "
            f"| {one['bytes_per_step'] / 1e6:.2f} MB | {one['sent_bytes'] / 1e6:.2f} MB "
            f"| {one['validation']['median']:.4f} | {max(one['memory_bytes']) / 1e6:.0f} MB "
            f"| {max(one['state_bytes']) / 1e6:.2f} MB |"
        )
    for one in comparison["refused"]:
        print(f"\n{one['strategy']}: {one['message'].splitlines()[0]}")
    sys.stdout.flush()


def write(found: dict[str, dict[str, Any]], asked: argparse.Namespace) -> None:
    """Keep the comparisons, with what they were made on and how to repeat them."""
    first = next(iter(found.values()))
    values = {
        "command": shlex.join(["python", "benchmarks/strategies.py", *sys.argv[1:]]),
        "each": shlex.join(["hvdtrain", *line(asked), "-H", "a:1,b:1"]),
        "date": str(date.today()),
        "hosts": "two network namespaces of one machine, one core each",
        "cores": usable_cores(),
        "environment": {
            key: value for key, value in first["environment"].items() if key not in ("command", "directory")
        },
        "links": {
            link: {key: value for key, value in one.items() if key not in ("environment", "command", "created")}
            for link, one in found.items()
        },
    }
    path = HERE / "results" / f"strategies-{date.today()}.json"
    path.write_text(json.dumps(values, indent=1) + "\n")
    print(f"\nwritten: {path}")


if __name__ == "__main__":
    main()
