"""Python imports this where its folder is in PYTHONPATH: faults planted in workers, and an account of their samples.

PLANTED holds a JSON list of {"do", "rank", "step"}, each done once in a job, at that step, or where it names a number
of "workers" at the first one after that with so many; `MARKS` is the folder that remembers. One "at" the saving comes
while worker 0 writes that step's checkpoint, one "at" the start as a worker's process starts.
kill ends the worker by SIGKILL; stop freezes it by SIGSTOP; stuck lets it load data for ever; hosts writes "text" into
"file". One "after" some seconds comes while the update goes on. slow takes 0.1 s for every update from its step on
until the job has had its "sizes", so that there are updates left for each. AUDIT is a folder: each worker writes a
line for each global batch, with its samples and their places in the order of all. A worker process is one that was
started as one of several.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path


def plant() -> None:
    from hvdtrain.data.loader import Loader
    from hvdtrain.train.loop import Loop
    from hvdtrain.train.saving import Checkpoints

    slow = [fault for fault in FAULTS if fault["do"] == "slow"]
    update, load, write = Loop._update, Loader.__next__, Checkpoints._write

    def faulty_update(self):
        if any(lacks(fault, self.world) and self.step >= fault["step"] - 1 for fault in slow):
            time.sleep(0.1)
        for index, fault in enumerate(FAULTS):
            workers = fault.get("workers", self.world.size)
            here = (self.world.rank, self.world.size) == (fault.get("rank"), workers) and "at" not in fault
            if here and self.step >= fault["step"] - 1:
                once(index, fault)
        return update(self)

    def faulty_write(self, directory, snapshot):
        for index, fault in enumerate(FAULTS):
            if fault.get("at") == "saving" and snapshot.state["step"] == fault["step"]:
                once(index, fault)
        return write(self, directory, snapshot)

    def audited_load(self):
        begin = self.position
        batches = load(self)
        if "AUDIT" in os.environ:
            own = (self._dealing.batch(begin).workers == self._rank).nonzero()[0] + begin
            line = {"begin": begin, "end": self.position, "at": own.tolist(), "samples": self.sample_ids.tolist()}
            with (Path(os.environ["AUDIT"]) / f"{os.getpid()}.jsonl").open("a") as file:
                file.write(json.dumps(line | {"time": time.time()}) + "\n")
        return batches

    Loop._update, Loader.__next__, Checkpoints._write = faulty_update, audited_load, faulty_write


def once(index: int, fault: dict) -> None:
    mark = Path(os.environ["MARKS"]) / f"{index}"
    if not mark.exists():
        mark.touch()
        do(fault)


def lacks(fault: dict, world) -> bool:
    """Whether the job has not yet had each of a fault's numbers of workers, one after the other."""
    file = Path(os.environ["MARKS"]) / "sizes"
    seen = json.loads(file.read_text()) if file.exists() else []
    if world.rank == 0 and seen[-1:] != [world.size]:
        seen.append(world.size)
        file.with_suffix(".new").write_text(json.dumps(seen))
        file.with_suffix(".new").replace(file)
    return seen[: len(fault["sizes"])] != fault["sizes"]


def do(fault: dict) -> None:
    if "after" in fault:
        threading.Timer(fault["after"], do, [{"do": fault["do"]}]).start()
    elif fault["do"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault["do"] == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault["do"] == "stuck":
        from hvdtrain.metrics import activity

        activity.begin("loading data")
        time.sleep(3600)
    else:
        Path(fault["file"]).write_text(fault["text"])


FAULTS = json.loads(os.environ.get("PLANTED", "[]"))
if "train" in sys.orig_argv and ("HOROVOD_RANK" in os.environ or "OMPI_COMM_WORLD_RANK" in os.environ):
    for number, planted in enumerate(FAULTS):
        if planted.get("at") == "start" and os.environ.get("HOROVOD_RANK") == str(planted["rank"]):
            once(number, planted)
    plant()
