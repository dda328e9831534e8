"""What a parameter server's link costs as workers grow: seconds of push, update and pull, beside an all-reduce.

    python benchmarks/parameter_server.py [--workers 2 3 4] [--elements 1000000] [--repeats 5] [--rates none 200mbit]
                                          [--write]

For each link and number of workers one launch under horovodrun with Gloo, all workers of one thread: over a rate, each
worker is a host of its own of `namespaces.py` (needs root); with `none` all share this machine's loopback. In a launch
each repeat does a push, an SGD update with momentum and a pull with one colocated server, the same with one dedicated
server (fewer workers train by one), and an all-reduce of the same gradient. A figure is the median over repeats after
the first of the slowest worker's seconds, with the range. More workers than cores are marked `oversubscribed`.

`link_seconds` are what the busiest link would take, with p processes: (p - 1) S over the rate for push and for pull,
whether the server is dedicated or not, and 2 (p - 1) / p S for the all-reduce.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from namespaces import Lab, bits

HERE = Path(__file__).parent
CYCLE = {"HOROVOD_CYCLE_TIME": "2"}
PARTS = ("push", "update", "pull", "all-reduce")


def work(elements: int, repeats: int) -> None:
    """Measure on one worker; the first prints what the slowest took."""
    import torch

    from hvdtrain import world as worlds
    from hvdtrain.sync import wrap
    from hvdtrain.sync.parameter_server import Config

    torch.set_num_threads(1)
    world = worlds.start(CYCLE)
    placements = ("colocated", "dedicated") if world.size > 2 else ("colocated",)
    found: dict[str, Any] = {}
    gradient = torch.ones(elements)
    for placement in placements:
        parameter = torch.nn.Parameter(torch.zeros(elements))
        strategy = wrap(
            Config(placement=placement),
            torch.optim.SGD([parameter], lr=1e-3, momentum=0.9),
            named_parameters=[("all", parameter)],
            backward_passes_per_step=1,
            world=world,
        )
        calls = (
            strategy.synchronize,
            lambda strategy=strategy: strategy.step(None),
            strategy.publish,
            lambda: world.start_sum(gradient, "all").wait(),
        )
        rows: list[list[float]] = []
        for _ in range(repeats + 1):
            own = []
            for call in calls:
                world.gather(None)
                began = time.perf_counter()
                call()
                own.append(time.perf_counter() - began)
            rows.append([max(each) for each in zip(*world.gather(own), strict=True)])
        into, out = strategy.server_bytes_per_step
        took = {part: times[1:] for part, times in zip(PARTS, zip(*rows, strict=True), strict=True)}
        found[placement] = {
            "seconds": {part: {"median": median(t), "range": [min(t), max(t)]} for part, t in took.items()},
            "server_bytes": {"in": into, "out": out},
            "worker_bytes": strategy.bytes_per_step,
        }
    if world.rank == 0:
        print(json.dumps(found))
    world.close()


def launch(workers: int, rate: str | None, options: argparse.Namespace) -> dict[str, Any]:
    """Run one launch and return what it measured."""
    script = [sys.executable, __file__, "--worker", "--elements", options.elements, "--repeats", options.repeats]
    command = ["horovodrun", "-np", workers, "--gloo"]
    package = str(HERE.parent)
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": "1",
    }
    if rate is None:
        line = [str(word) for word in (*command, *script)]
        finished = subprocess.run(
            line, env=os.environ | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    else:
        with Lab(hosts=workers, rate=rate) as lab:
            hosts = ["--network-interfaces", "eth0", "-H", lab.slots()]
            finished = lab.run("a", [str(word) for word in (*command, *hosts, *script)], env=environment, timeout=600)
    match = re.search(r"\{.*\}", finished.stdout)
    if finished.returncode or match is None:
        sys.exit(finished.stdout + finished.stderr)
    found: dict[str, Any] = json.loads(match[0])
    if rate is not None:
        for placement, one in found.items():
            one["link_seconds"] = link_seconds(workers, placement, 4 * options.elements, bits(rate) / 8)
    return found


def link_seconds(workers: int, placement: str, size: int, rate: float) -> dict[str, float]:
    """Return the seconds that the busiest link is busy; rate in bytes a second."""
    one_way = (workers - 1) * size / rate  # a dedicated server leaves as many workers as a colocated one has peers
    return {"push": one_way, "pull": one_way, "all-reduce": 2 * (workers - 1) / workers * size / rate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--elements", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rates", nargs="+", default=["none", "200mbit"], help="of a link, as tc writes it")
    parser.add_argument("--write", action="store_true", help="append to results/, dated")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.elements, options.repeats)
        return
    rows = []
    for rate in options.rates:
        for workers in options.workers:
            shaped = None if rate == "none" else rate
            row = {"link": rate, "workers": workers, "oversubscribed": workers > (os.cpu_count() or 1)}
            rows.append(row | launch(workers, shaped, options))
            print(_line(rows[-1]))
    if options.write:
        _write(rows)


def _line(row: dict[str, Any]) -> str:
    parts = []
    for placement in ("colocated", "dedicated"):
        if placement in row:
            seconds = row[placement]["seconds"]
            told = ", ".join(f"{part} {seconds[part]['median'] * 1000:.0f} ms" for part in PARTS)
            parts.append(f"{placement}: {told}")
    mark = " (oversubscribed)" if row["oversubscribed"] else ""
    return f"{row['link']}, {row['workers']} workers{mark}: {'; '.join(parts)}"


def _write(rows: list[dict[str, Any]]) -> None:
    path = HERE / "results" / f"parameter-server-{date.today().isoformat()}.json"
    runs = json.loads(path.read_text()) if path.exists() else []
    runs.append(
        {
            "benchmark": "parameter_server",
            "date": date.today().isoformat(),
            "command": f"python benchmarks/parameter_server.py {' '.join(sys.argv[1:])}",
            "hardware": f"{os.cpu_count()} cores, {platform.machine()}",
            "versions": {name: version(name) for name in ("torch", "horovod", "hvdtrain")},
            "knobs": CYCLE,
            "rows": rows,
        }
    )
    path.write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
