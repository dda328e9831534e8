"""Python imports this where its folder is in PYTHONPATH: faults planted in workers, and an account of their samples.

PLANTED holds a JSON list of {"do", "rank", "step"}, each done once in a job, at that step, or where it names a number
of "workers" at the first one after that with so many; `MARKS` is the folder that remembers. One "at" the saving comes
while worker 0 writes that step's checkpoint.
kill ends the worker by SIGKILL; stop freezes it by SIGSTOP; stuck lets it load data for ever; hosts writes "text" into
"file". AUDIT is a folder: each worker writes a line for each global batch, with its samples and their places in the
order of all. A worker process is one that was started as one of several.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def plant() -> None:
    from hvdtrain.data.loader import Loader
    from hvdtrain.train.loop import Loop
    from hvdtrain.train.saving import Checkpoints

    faults = json.loads(os.environ.get("PLANTED", "[]"))
    update, load, write = Loop._update, Loader.__next__, Checkpoints._write

    def once(index, fault):
        mark = Path(os.environ["MARKS"]) / f"{index}"
        if not mark.exists():
            mark.touch()
            do(fault)

    def faulty_update(self):
        for index, fault in enumerate(faults):
            workers = fault.get("workers", self.world.size)
            here = (self.world.rank, self.world.size) == (fault["rank"], workers) and "at" not in fault
            if here and self.step >= fault["step"] - 1:
                once(index, fault)
        return update(self)

    def faulty_write(self, directory, snapshot):
        for index, fault in enumerate(faults):
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


def do(fault: dict) -> None:
    if fault["do"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault["do"] == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault["do"] == "stuck":
        from hvdtrain.metrics import activity

        activity.begin("loading data")
        time.sleep(3600)
    else:
        Path(fault["file"]).write_text(fault["text"])


if "train" in sys.orig_argv and ("HOROVOD_RANK" in os.environ or "OMPI_COMM_WORLD_RANK" in os.environ):
    plant()
