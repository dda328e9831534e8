"""The horovodrun command line of a job. Pure: nothing is started or looked up here but the program itself."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hvdtrain.errors import SetupError, UserError
from hvdtrain.launch import flags
from hvdtrain.launch.hosts import Host

MISSING = (
    "several workers need Horovod, and horovodrun is not installed beside this Python ({python}); "
    "scripts/install builds it, or train with one process: hvdtrain train RECIPE"
)


@dataclass(frozen=True)
class Launch:
    """What to start: a recipe, on how many workers, where, and with which flags of horovodrun (by `Flag.key`).

    `instead` are the arguments of the hvdtrain command that the workers run where it is not `train` with the recipe.
    """

    recipe: str
    workers: int
    overrides: Sequence[str] = ()
    resume: str = "auto"
    hosts: tuple[Host, ...] = ()
    controller: Literal["gloo", "mpi"] | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    instead: Sequence[str] = ()

    @property
    def elastic(self) -> bool:
        """Whether the number of workers may change; what horovodrun takes for it."""
        return self.flags.get("min_np") is not None or self.flags.get("host_discovery_script") is not None


def check(launch: Launch) -> None:
    """Refuse what horovodrun would refuse late, or crash on.

    Raises:
        UserError: the numbers of workers and slots contradict each other, or flags do.
    """
    least, most = launch.flags.get("min_np"), launch.flags.get("max_np")
    if launch.workers < 1:
        raise UserError(f"-np {launch.workers}: at least one worker is needed")
    if least is not None and not 1 <= least <= launch.workers:
        raise UserError(f"--min-np {least}: must lie between 1 and -np {launch.workers}")
    if most is not None and most < launch.workers:
        raise UserError(f"--max-np {most}: must not be less than -np {launch.workers}")
    if launch.elastic and launch.controller == "mpi":
        raise UserError("--mpi: elastic runs need Gloo; leave out --mpi, or --min-np and --host-discovery-script")
    slots = sum(host.slots for host in launch.hosts)
    if launch.hosts and slots < launch.workers:
        raise UserError(
            f"-np {launch.workers}: the hosts have {slots} slots; raise them in -H "
            f"{','.join(map(str, launch.hosts))}, or use -np {slots}"
        )
    if launch.workers == 1 and launch.flags.get("output_filename"):
        raise UserError(
            "--output-filename: horovodrun crashes with it where there is one worker; use two, or leave it out"
        )


def horovodrun(program: Sequence[str], launch: Launch, python: str = sys.executable) -> list[str]:
    """Return the command line that starts the job; `program` is horovodrun, or what stands for it."""
    line = [*program, "-np", str(launch.workers)]
    if launch.hosts:
        line += ["-H", ",".join(map(str, launch.hosts))]
    if launch.controller:
        line.append(f"--{launch.controller}")
    train = ["train", launch.recipe, *launch.overrides, "--resume", launch.resume]
    return [*line, *flags.arguments(launch.flags), python, "-m", "hvdtrain", *(launch.instead or train)]


def find_horovodrun(python: str = sys.executable) -> str:
    """Return the horovodrun of this Python: another Python's would start workers that miss packages.

    Raises:
        SetupError: there is none.
    """
    # Not resolved: the link of a virtual environment has its programs beside it, its target has not.
    beside = Path(python).parent / "horovodrun"
    found = str(beside) if beside.is_file() else shutil.which("horovodrun")
    if found is None:
        raise SetupError(MISSING.format(python=python))
    return found
