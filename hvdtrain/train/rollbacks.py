"""What a run that comes upon numbers that are none goes back to, and what it says where it ends instead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvdtrain.errors import NonFiniteError, RunError, shared
from hvdtrain.metrics.records import ProblemRecord
from hvdtrain.train import checkpoint
from hvdtrain.train.resume import roll_back
from hvdtrain.world import on_first

if TYPE_CHECKING:
    from hvdtrain.train.assemble import Assembly
    from hvdtrain.world import World


class Rollbacks:
    """The rollbacks of a run.

    Attributes:
        count: how many there were, those before a resume included.
        checkpoint: the newest checkpoint of the run; worker 0 knows it, others only what the run began with.
    """

    def __init__(self, assembly: Assembly, world: World) -> None:
        self._assembly, self._world, self._config = assembly, world, assembly.recipe.train
        self.count = 0
        self.checkpoint: str | None = None

    def look_up(self) -> None:
        """Find the newest checkpoint on the disk, for all workers; what has the name of one was whole once."""
        directory = Path(self._assembly.recipe.output_dir) / "checkpoints"
        found = on_first(self._world, lambda: [str(path) for _, path in checkpoint.found(directory)[:1]])
        self.checkpoint = found[0] if found else None

    def is_saved(self) -> bool:
        """Whether the newest checkpoint is the run's own of this step; for worker 0 to say."""
        own = Path(self._assembly.recipe.output_dir) / "checkpoints" / f"step-{self._assembly.loop.step}"
        return self.checkpoint is not None and Path(self.checkpoint).absolute() == own.absolute()

    def go_back(self, error: NonFiniteError) -> tuple[ProblemRecord, Mapping[str, Any]]:
        """Go back to the newest checkpoint, and on with the samples that come now; return the record of it, and the
        state that the checkpoint has.

        Raises:
            NonFiniteError: the recipe wants none, the workers are not at the same point, none are left, or there is no
                checkpoint.
        """
        limit = self._config.nonfinite_limit
        if self._config.on_nonfinite != "rollback" or not error.shared or self.count >= limit:
            raise self.told(error) from error
        at = self._assembly.loop.step
        self.count += 1
        found = roll_back(self._assembly, self._world)
        if found is None:
            raise self.told(error) from error
        self.checkpoint, state = found
        step = self._assembly.loop.step
        action = f"back from step {at} to {step}, and on with other samples (rollback {self.count} of at most {limit})"
        return ProblemRecord(step=step, problem=str(error), action=action), state

    def told(self, error: RunError) -> RunError:
        """Return the error with what a person can go on from."""
        told = type(error)(f"{error}; the last good checkpoint: {self._last_good()}")
        return shared(told) if error.shared else told

    def _last_good(self) -> str:
        if self._world.rank != 0:
            return f"the newest in {Path(self._assembly.recipe.output_dir) / 'checkpoints'}"
        return self.checkpoint or "none was saved"
