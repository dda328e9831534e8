"""Truncated and flipped checkpoints: is each damage noticed?

    python benchmarks/reliability/damage.py [--offsets 1000] [--seed 0]

Of a real checkpoint, with tokenizer, each trial truncates one file at a random place, or flips one random bit of it.
Then `verify` must refuse it, and `newest` must name it and take the older one. A damage that is read without a word is
a silent load. One line of benchmarks/results/reliability/damage.jsonl each time.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from pathlib import Path

from checkpoint_writer import snapshot
from ledger import Ledger

from hvdtrain.errors import CheckpointError
from hvdtrain.train import checkpoint
from hvdtrain.train.saving import Checkpoints


def damaged(content: bytes, kind: str, draw: random.Random) -> bytes:
    """Return content cut off at a random place, or with one random bit flipped."""
    place = draw.randrange(len(content))
    if kind == "truncated":
        return content[:place]
    changed = bytearray(content)
    changed[place] ^= 1 << draw.randrange(8)
    return bytes(changed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offsets", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    silent: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        whole = Checkpoints(
            folder, recipe="name: x\n", save_tokenizer=lambda path: path.write_text('{"kind": "bytes"}'), keep_last=None
        )
        for step in (1, 2):
            whole.save(snapshot(step))
        files = sorted((folder / "step-2").iterdir())
        kept = {file: file.read_bytes() for file in files}
        for number in range(asked.offsets):
            kind = ("truncated", "flipped")[number % 2]
            file = files[draw.randrange(len(files))]
            file.write_bytes(damaged(kept[file], kind, draw))
            try:
                checkpoint.read(folder / "step-2")
                silent.append(f"{kind} {file.name}")
            except CheckpointError:
                found, problems = checkpoint.newest(folder)
                if found != folder / "step-1" or not problems:
                    silent.append(f"{kind} {file.name}: not skipped")
            file.write_bytes(kept[file])
        shutil.rmtree(folder / "step-2")
    ledger = Ledger("damage")
    ledger.add(offsets=asked.offsets, seed=asked.seed, detected=asked.offsets - len(silent), silent=silent)
    print(f"detected {asked.offsets - len(silent)} of {asked.offsets}; silent: {silent or 'none'}")


if __name__ == "__main__":
    main()
