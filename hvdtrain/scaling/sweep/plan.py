"""Which trials a sweep makes: sizes in their modes, each with its batch and threads, and which sizes can't be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hvdtrain.errors import UserError
from hvdtrain.scaling.trial import ENDLESS

if TYPE_CHECKING:
    from hvdtrain.metrics.study import Mode
    from hvdtrain.recipe import Recipe
    from hvdtrain.scaling.trial import Place


@dataclass(frozen=True)
class Size:
    """A number of workers in a mode, and the changes to the recipe that make it so.

    `all_cores` marks the one worker that has every core of its host, which is no size of the sweep but what it is held
    against. `oversubscribed` says in words how many threads share how many cores, where there are more than that.
    """

    mode: Mode
    workers: int
    threads: int
    overrides: tuple[str, ...]
    oversubscribed: str = ""
    all_cores: bool = False

    @property
    def key(self) -> str:
        """Its name among the stored trials."""
        return f"{self.mode}-{self.workers}x{self.threads}{'-all-cores' if self.all_cores else ''}"

    def __str__(self) -> str:
        workers = f"{self.workers} worker" + ("" if self.workers == 1 else "s")
        return f"{workers} with all cores" if self.all_cores else f"{workers}, {self.mode}"


@dataclass(frozen=True)
class Cores:
    """The cores of each host by name; "" is this machine where no hosts were named."""

    of: Mapping[str, int]

    def most_loaded(self, workers: int, place: Place) -> tuple[int, int]:
        """Return (workers, cores) of the host that has the fewest cores for each worker."""
        loads = [(host.slots, self.of[host.name]) for host in place.first(workers)] or [(workers, self.of[""])]
        return min(loads, key=lambda load: load[1] / load[0])


def plan(recipe: Recipe, numbers: Sequence[int], mode: Literal["weak", "strong", "both"], place: Place, cores: Cores,
         all_cores: bool = True) -> list[Size]:  # fmt: skip
    """Return the sizes of a sweep, each mode's smallest first; one worker is always among them, and with `all_cores`
    one that has its whole host.

    Every worker of every size has the same number of threads, so that a worker of the smallest is the same as one of
    the largest: the recipe's `threads_per_worker`, or what each worker of the largest size can have for itself.

    Raises:
        UserError: some numbers of workers can't run; names them, why, and those that can.
    """
    modes: list[Mode] = ["weak", "strong"] if mode == "both" else [mode]
    wanted = sorted({1, *numbers})
    _check(recipe, wanted, modes, place)
    share, held = cores.most_loaded(wanted[-1], place)
    asked = recipe.train.threads_per_worker
    threads = max(1, held // share) if asked == "auto" else asked
    sizes = [
        Size(one, n, threads, (*_batch(recipe, one, n), *_common(threads)), _oversubscription(n, threads, place, cores))
        for one in modes
        for n in wanted
    ]
    everything = cores.of[place.hosts[0].name if place.hosts else ""]
    if all_cores and everything > threads:
        changes = (*_batch(recipe, modes[0], 1), *_common(everything))
        sizes.append(Size(modes[0], 1, everything, changes, all_cores=True))
    return sizes


def _common(threads: int) -> tuple[str, ...]:
    return (*ENDLESS, f"train.threads_per_worker={threads}")


def _batch(recipe: Recipe, mode: Mode, workers: int) -> tuple[str, ...]:
    """Weak: a micro batch for each worker. Strong: the recipe's global batch, in micro batches that divide a share."""
    if mode == "weak":
        return ("train.global_batch_size=null",)
    share = (recipe.train.global_batch_size or recipe.train.micro_batch_size) // workers
    micro = max(m for m in range(1, min(recipe.train.micro_batch_size, share) + 1) if share % m == 0)
    # The micro batch first: each override is checked with what stands when all are in, but read in order.
    return (f"train.micro_batch_size={micro}", f"train.global_batch_size={share * workers}")


def _check(recipe: Recipe, numbers: Sequence[int], modes: Sequence[Mode], place: Place) -> None:
    problems = []
    slots = sum(host.slots for host in place.hosts)
    fits = [n for n in numbers if n >= 1 and (not place.hosts or n <= slots)]
    for n in numbers:
        if n < 1:
            problems.append(f"{n} workers: at least one is needed")
        elif n not in fits:
            problems.append(f"{n} workers: the hosts have {slots} slots")
    if "strong" in modes:
        whole = recipe.train.global_batch_size
        if whole is None:
            problems.append("strong scaling holds the global batch fixed, and the recipe has none: set "
                            "train.global_batch_size, or use --mode weak")  # fmt: skip
        else:
            problems += [
                f"{n} workers: train.global_batch_size {whole} can't be cut into {n} equal shares"
                for n in fits
                if whole % n
            ]
            fits = [n for n in fits if whole % n == 0]
    if problems:
        can = f"; --np {','.join(map(str, fits))} can" if fits else ""
        raise UserError("--np: these sizes can't run" + can + "\n" + "\n".join(f"  {line}" for line in problems))


def _oversubscription(workers: int, threads: int, place: Place, cores: Cores) -> str:
    share, held = cores.most_loaded(workers, place)
    if share * threads <= held:
        return ""
    each = f"{threads} thread{'' if threads == 1 else 's'}"
    on = f"{held} core{'' if held == 1 else 's'}"
    return f"{share} worker{'' if share == 1 else 's'} x {each} on {on}"
