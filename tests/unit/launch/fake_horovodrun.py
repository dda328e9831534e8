"""Stands in for horovodrun: starts the workers, prefixes their output and ends as Horovod 0.28.1 does.

fake_horovodrun.py -np N [--mpi] COMMAND...; each worker runs under a shell, which does not pass signals on. On SIGTERM
it ends them within moments, as the real one does after a grace too short for a checkpoint.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psutil

RULE = "-" * 74


def forward(pipe, rank: int, name: str, mpi: bool) -> None:
    out = sys.stdout if name == "stdout" else sys.stderr
    for line in pipe:
        out.write(f"[{'1,' if mpi else ''}{rank}]<{name}>:{line}")
        out.flush()


def start(rank: int, size: int, command: list[str], mpi: bool) -> subprocess.Popen:
    names = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE") if mpi else ("HOROVOD_RANK", "HOROVOD_SIZE")
    line = f"env {names[0]}={rank} {names[1]}={size} " + " ".join(f"'{part}'" for part in command) + "; exit $?"
    return subprocess.Popen(line, shell=True, stdout=-1, stderr=-1, text=True, start_new_session=not mpi)


def report(rank: int, code: int, mpi: bool) -> None:
    if not mpi:
        raise RuntimeError(
            "Horovod detected that one or more processes exited with non-zero status, thus causing the job to be "
            f"terminated. The first process to do so was:\nProcess name: {rank}\nExit code: {code}\n"
        )
    print(
        f"{RULE}\nPrimary job  terminated normally, but 1 process returned\na non-zero exit code.\n{RULE}",
        file=sys.stderr,
    )
    print(RULE, file=sys.stderr)
    print("mpirun detected that one or more processes exited with non-zero status, thus causing\n"
          f"the job to be terminated. The first process to do so was:\n\n  Process name: [[33297,1],{rank}]\n"
          f"  Exit code:    {code}\n{RULE}", file=sys.stderr)  # fmt: skip
    sys.exit(code)


def kill_group(worker: subprocess.Popen) -> None:
    children = psutil.Process(worker.pid).children(recursive=True)
    worker.kill()  # First, lest the shell say that its child was killed.
    for child in children:
        child.kill()


def main() -> None:
    arguments = sys.argv[1:]
    size = int(arguments[1])
    mpi = arguments[2] == "--mpi"
    workers = [start(rank, size, arguments[3 if mpi else 2 :], mpi) for rank in range(size)]
    signal.signal(signal.SIGTERM, lambda *_: [kill_group(worker) for worker in workers])
    threads = [
        threading.Thread(target=forward, args=(pipe, rank, name, mpi))
        for rank, worker in enumerate(workers)
        for pipe, name in ((worker.stdout, "stdout"), (worker.stderr, "stderr"))
    ]
    for thread in threads:
        thread.start()
    first, left = None, dict(enumerate(workers))
    while left:
        for rank, worker in list(left.items()):
            if worker.poll() is None:
                continue
            del left[rank]
            if worker.returncode:
                if not mpi:
                    print(f"Process {rank} exit with status code {worker.returncode}.", flush=True)
                if first is None:
                    first = (rank, worker.returncode)
                    if not mpi:
                        print(f"Terminating remaining workers after failure of Process {rank}.", flush=True)
                    for other in left.values():
                        kill_group(other)
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    if first:
        report(*first, mpi)


if __name__ == "__main__":
    os.environ.pop("PYTHONUNBUFFERED", None)
    main()
