"""Are repeats equal to the last bit, for each number of workers, with fusion on and off, over Gloo and MPI?

    python benchmarks/reliability/determinism.py [--repeats 10] [--workers 1 2 3]

Each run trains a small GPT; its hash is that of the model and the optimizer's state at the end. In each cell all
repeats must have one hash: with train.deterministic=true, and also without it, where nothing promises so. Fusion is
that of `sync.fusion_threshold_mb`, which for allreduce is the size of its own buckets: 0 sends each tensor by itself.
`cost` is the step time of the deterministic runs over that of the others with the same workers and controller. One
line a cell in benchmarks/results/reliability/determinism.jsonl.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
from pathlib import Path

from job import Work, run
from ledger import Ledger

from hvdtrain.train import checkpoint


def digest(output: Path) -> str:
    """Return a hash of the tensors that a run ended with."""
    found = checkpoint.read(checkpoint.locate(output))
    whole = hashlib.sha256()
    for tensors in (found.model, found.optimizer):
        for name in sorted(tensors):
            whole.update(name.encode() + tensors[name].contiguous().view(-1).numpy().tobytes())
    return whole.hexdigest()[:16]


def one(folder: Path, workers: int, controller: str, fusion: str, deterministic: bool) -> tuple[str, float]:
    """Train once; return the hash and the median seconds of a step."""
    more = (
        f"train.deterministic={str(deterministic).lower()}",
        f"sync={{name: allreduce, fusion_threshold_mb: {0 if fusion == 'off' else 16}}}",
        "train.eval_interval=0",
        "train.save_interval=0",
    )
    work = Work("language model, GPT", "allreduce", folder, workers, more, controller)
    finished = run(work.command("run", "--resume", "never"))
    if finished.returncode:
        raise SystemExit(finished.stdout + finished.stderr)
    records = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [record["seconds"]["step"] for record in records if record["event"] == "step"][5:]
    return digest(folder / "run"), statistics.median(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--controllers", nargs="+", choices=["gloo", "mpi"], default=["gloo", "mpi"])
    asked = parser.parse_args()
    ledger = Ledger("determinism")
    for workers in asked.workers:
        for controller in asked.controllers if workers > 1 else asked.controllers[:1]:
            for fusion in ("on", "off") if workers > 1 else ("off",):
                sides: dict[bool, list[tuple[str, float]]] = {True: [], False: []}
                with tempfile.TemporaryDirectory() as directory:
                    for _ in range(asked.repeats):
                        for deterministic, found in sides.items():
                            found.append(one(Path(directory), workers, controller, fusion, deterministic))
                hashes = {kind: sorted({value for value, _ in found}) for kind, found in sides.items()}
                times = {kind: statistics.median(seconds for _, seconds in found) for kind, found in sides.items()}
                ledger.add(
                    workers=workers,
                    controller=controller,
                    fusion=fusion,
                    repeats=asked.repeats,
                    hashes=len(hashes[True]),
                    hashes_without=len(hashes[False]),
                    cost=times[True] / times[False],
                    hash=hashes[True],
                )
                print({key: value for key, value in ledger.trials[-1].items() if key not in ("versions", "hardware")})


if __name__ == "__main__":
    main()
