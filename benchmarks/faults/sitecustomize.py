"""Put before everything on PYTHONPATH: makes workers of a job suffer from what `HVDTRAIN_TEST_FAULT` names."""

import os
import subprocess
import sys
import time

FAULT = os.environ.get("HVDTRAIN_TEST_FAULT", "")
RANK = os.environ.get("HOROVOD_RANK") or os.environ.get("OMPI_COMM_WORLD_RANK")

BURN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(100000))"


def slow_loader(seconds: float) -> None:
    from hvdtrain.data.loader import Loader

    quick = Loader.__next__

    def slow(self):
        time.sleep(seconds)
        return quick(self)

    Loader.__next__ = slow


if RANK is not None:
    if FAULT == "slow-data" or (FAULT == "sleeping-worker" and RANK == "1"):
        slow_loader(0.1)
    elif FAULT == "busy-core":
        # Each worker has a core of its own, as a launcher that binds them gives it; something else runs on the second.
        os.sched_setaffinity(0, {int(RANK)})
        if RANK == "1":
            subprocess.Popen([sys.executable, "-S", "-c", BURN])
    elif FAULT == "helpers":
        subprocess.Popen([sys.executable, "-S", "-c", BURN])
