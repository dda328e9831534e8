"""The settings that tuning tries: the recipe as it stands, one change at a time, then what helped together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Candidate:
    """Changes to the recipe and a controller; `changes` has one entry a knob, such as `sync.cycle_time_ms: 5`."""

    changes: dict[str, str] = field(default_factory=dict)
    controller: str | None = None

    @property
    def overrides(self) -> tuple[str, ...]:
        """The changes as a command line has them."""
        return tuple(f"{key}={value}" for key, value in self.changes.items())

    def __str__(self) -> str:
        said = [f"{_NAMES.get(key, key)} {value}" for key, value in self.changes.items()]
        return ", ".join([*said, *([self.controller] if self.controller else [])]) or "as it stands"

    @property
    def knobs(self) -> set[str]:
        """What differs from the recipe, by `KNOBS`."""
        return {key.rpartition(".")[2] for key in self.changes} | ({"controller"} if self.controller else set())

    def joined(self, other: Candidate) -> Candidate:
        """Return both together; the other's word on a knob counts."""
        return Candidate(self.changes | other.changes, other.controller or self.controller)


_NAMES = {
    "sync.cycle_time_ms": "cycle (ms)",
    "sync.fusion_threshold_mb": "fusion (MiB)",
    "sync.groups": "groups",
    "train.threads_per_worker": "threads",
}
KNOBS = (*(key.rpartition(".")[2] for key in _NAMES), "controller")
_CYCLES = (1.0, 5.0, 20.0, 50.0)
_FUSIONS = (4, 32, 128)
_GROUPS = (1, 8)


def single_changes(
    *, cycle_ms: float, fusion_mb: float, groups: int | None, threads: int, share: int, controllers: Sequence[str],
    current: str,
) -> list[Candidate]:  # fmt: skip
    """Return the candidates that differ from the recipe in one knob.

    Args:
        cycle_ms: the cycle time as it stands; so `fusion_mb`, `groups` and `threads`.
        share: the cores that a worker has to itself.
        controllers: those that Horovod was built with; `current` is the one in use.
    """
    found = [Candidate({"sync.cycle_time_ms": f"{value:g}"}) for value in _CYCLES if value != cycle_ms]
    found += [Candidate({"sync.fusion_threshold_mb": f"{value:g}"}) for value in _FUSIONS if value != fusion_mb]
    found += [Candidate({"sync.groups": str(value)}) for value in _GROUPS if value != groups]
    # One core fewer leaves the engine one of its own.
    found += [
        Candidate({"train.threads_per_worker": str(value)})
        for value in sorted({share, share - 1, (share + 1) // 2})
        if value >= 1 and value != threads
    ]
    return found + [Candidate(controller=name) for name in controllers if name != current]


def together(better: Sequence[Candidate]) -> Candidate | None:
    """Return the candidates that helped, the best first, as one; of each knob the best value. None where it is no new
    one.
    """
    whole = Candidate()
    for candidate in reversed(better):
        whole = whole.joined(candidate)
    return whole if whole not in better and whole != Candidate() else None
