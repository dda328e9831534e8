"""A kill, a full disk, an I/O error or a lost permission at every system call of one checkpoint: is a whole one left?

    python benchmarks/reliability/checkpoint_faults.py [--faults kill ENOSPC EIO EACCES]

strace counts the system calls that write one checkpoint (checkpoint_writer.py), and then injects a fault at each of
them in turn, the first write, the second, and so on, in processes of their own. After a kill the newest whole
checkpoint must be the one before or the new one, bit for bit. After an error the writer must say so and end by itself
with the one before, or have written the new one whole, and say what else failed if it was no matter of tidying; errors
are injected where one can come from a disk. Each fault's trials are one line of
benchmarks/results/reliability/checkpoint-faults.jsonl.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from checkpoint_writer import snapshot
from ledger import Ledger

from hvdtrain.errors import CheckpointError
from hvdtrain.train import checkpoint

WRITER = Path(__file__).with_name("checkpoint_writer.py")
DISK_CALLS = (
    "openat,write,writev,pwrite64,fsync,fdatasync,rename,renameat,renameat2,mkdir,mkdirat,ftruncate,fallocate,"
    "unlink,unlinkat,rmdir"
)
"""What changes a disk; reading is hvdtrain checkpoint verify's business."""
FAULTS = ("kill", "ENOSPC", "EIO", "EACCES")
_NEVER_BACK = ("exit_group", "restart_syscall")


def attached(folder: Path, *options: str) -> tuple[int, str, str]:
    """Run the writer with strace attached for its second checkpoint; return its exit code, what it said, the trace."""
    shutil.rmtree(folder, ignore_errors=True)
    writer = subprocess.Popen(
        [sys.executable, str(WRITER), str(folder / "checkpoints")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not _stopped(writer.pid):
        time.sleep(0.005)
    trace = folder / "trace"
    tracer = subprocess.Popen(
        ["strace", "-f", "-o", str(trace), *options, "-p", str(writer.pid)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr is not None
    tracer.stderr.readline()  # "attached"
    os.kill(writer.pid, signal.SIGCONT)
    said, _ = writer.communicate(timeout=60)
    tracer.wait(timeout=60)
    return writer.returncode, said, trace.read_text()


def _stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def calls(trace: str, names: str | None) -> list[tuple[str, int]]:
    """Return the system calls of these names, or of any, in a trace: each with its number among those of its name, as
    strace counts them.
    """
    counts: Counter[str] = Counter()
    found = []
    for name in re.findall(r"^\d+ +(\w+)\(", trace, re.MULTILINE):
        counts[name] += 1
        if (names is None and name not in _NEVER_BACK) or (names and name in names.split(",")):
            found.append((name, counts[name]))
    return found


def verdict(folder: Path, fault: str, code: int, said: str) -> str:
    """Say what is wrong with what is left; nothing where all is as it must be."""
    found, _ = checkpoint.newest(folder / "checkpoints")
    if found is None:
        return "no whole checkpoint is left"
    step = int(found.name.removeprefix("step-"))
    kept, expected = checkpoint.read(found), snapshot(step)
    pairs = ((kept.model, expected.model), (kept.optimizer, expected.optimizer))
    if kept.state != expected.state or any(not torch.equal(a[name], t) for a, b in pairs for name, t in b.items()):
        return f"{found.name} holds something else"
    if fault == "kill":
        return "" if code == -signal.SIGKILL else f"the writer ended with {code}"
    if code not in (0, 3):
        return f"the writer ended with {code}: {said[-300:]}"
    if code == 3:
        words = "can't write checkpoint" if step == 1 else "step-2 is whole, but"
        return "" if words in said else f"no word of it: {said[-300:]}"
    if code == 0 and step != 2:
        return "the writer said all was well, and the new checkpoint is not there"
    try:
        checkpoint.verify(found)
    except CheckpointError as error:
        return str(error)
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS)
    parser.add_argument("--every", type=int, default=1, help="inject at each so-many-th call only")
    asked = parser.parse_args()
    if shutil.which("strace") is None:
        raise SystemExit("strace is not installed (Debian: apt-get install strace)")
    ledger = Ledger("checkpoint-faults")
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "run"
        code, said, trace = attached(folder)
        if code:
            raise SystemExit(f"the writer fails by itself: {said}")
        for fault in asked.faults:
            names = None if fault == "kill" else DISK_CALLS
            every = calls(trace, names)
            chosen = every[:: asked.every]
            wrong: dict[str, str] = {}
            codes: Counter[int] = Counter()
            for name, number in chosen:
                what = "signal=SIGKILL" if fault == "kill" else f"error={fault}"
                code, said, trace = attached(folder, "-e", f"inject={name}:{what}:when={number}")
                codes[code] += 1
                missed = "" if fault == "kill" or "(INJECTED)" in trace else "strace injected nothing"
                if why := missed or verdict(folder, fault, code, said):
                    wrong[f"{name} {number}"] = why
            recovered = len(chosen) - len(wrong)
            ledger.add(
                fault=fault,
                calls=len(every),
                tried=len(chosen),
                recovered=recovered,
                exit_codes={str(code): count for code, count in codes.items()},
                wrong=wrong,
            )
            print(f"{fault}: {recovered} of {len(chosen)} (of {len(every)} calls); {dict(codes)} {wrong}", flush=True)


if __name__ == "__main__":
    main()
