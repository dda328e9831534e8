"""Where a run begins: anew, or from a checkpoint that worker 0 reads and hands to all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvdtrain.errors import CheckpointError
from hvdtrain.train import checkpoint, state
from hvdtrain.train.checkpoint import Snapshot
from hvdtrain.train.window import Counts
from hvdtrain.world import World, broadcast_tensors, on_first, together

if TYPE_CHECKING:
    from hvdtrain.train.assemble import Assembly


@dataclass(frozen=True)
class Origin:
    """What the run continues: a checkpoint or nothing, the workers it had then, what it had been trained on, what a
    person should know of it, the best evaluation, what it is called, how often it had gone back, and whether it was
    stopped where an evaluation was due."""

    checkpoint: str | None
    world_size: int | None
    counts: Counts
    notes: tuple[str, ...]
    objective: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None
    rollbacks: int = 0
    owes_evaluation: bool = False


def resume(assembly: Assembly, world: World, wanted: str) -> Origin:
    """Put the run into the state that it is to begin in.

    Args:
        wanted: "auto" (the newest whole checkpoint of the output directory, if any), "never", or a path.

    Raises:
        CheckpointError: the checkpoint is missing, damaged or of another run.
    """
    found: tuple[str | None, list[str]] = on_first(world, lambda: _choose(assembly.recipe.output_dir, wanted))
    path, notes = found
    if path is None:
        return Origin(None, None, Counts(), tuple(notes))
    origin = take_up(assembly, world, _read_everywhere(world, Path(path)), path)
    return replace(origin, checkpoint=path, notes=(*notes, *origin.notes))


def take_up(assembly: Assembly, world: World, snapshot: Snapshot, source: str) -> Origin:
    """Go on from a snapshot that all workers have; `source` is what it is called.

    Raises:
        CheckpointError: it is of another run.
    """
    notes = []
    counts = together(world, lambda: _continue(assembly, snapshot, source))
    _count_what_is_left(assembly)
    workers, step = snapshot.state["world_size"], snapshot.state["step"]
    before, now = snapshot.state["precision"], assembly.loop.precision.name
    if before != now:
        notes.append(f"trained in {before} up to step {step}, in {now} from here")
    if workers != world.size and state.has_own(snapshot):
        agreed = "worker 0's model" if state.were_apart(snapshot) else "what they agreed on"
        notes.append(f"{workers} workers had state of their own at step {step}: it goes on as {agreed}")
    rollbacks, owes = snapshot.state["rollbacks"], snapshot.state["owes_evaluation"]
    return Origin(None, workers, counts, tuple(notes), snapshot.state.get("objective", {}), source, rollbacks, owes)


def roll_back(assembly: Assembly, world: World) -> tuple[str, Mapping[str, Any]] | None:
    """Go back to the newest whole checkpoint of the run, and on with the samples that would come now: those between it
    and here are left out. All workers call it together.

    Returns:
        The checkpoint's path and its state; None where there is no checkpoint.
    """
    path, _ = on_first(world, lambda: _choose(assembly.recipe.output_dir, "auto"))
    if path is None:
        return None
    for run in assembly.loop.phases:
        run.strategy.discard()
    assembly.loop.precision.forget()
    here = assembly.loop.loader.state_dict()
    snapshot = _read_everywhere(world, Path(path))
    together(world, lambda: _continue(assembly, snapshot, path))
    assembly.loop.loader.load_state_dict(here)
    _count_what_is_left(assembly)
    return path, snapshot.state


def _choose(output_dir: Path, wanted: str) -> tuple[str | None, list[str]]:
    if wanted == "never":
        return None, []
    if wanted != "auto":
        return str(checkpoint.locate(Path(wanted))), []
    path, problems = checkpoint.newest(output_dir / "checkpoints")
    if path is None and problems:
        raise CheckpointError(
            "no whole checkpoint to resume from:\n" + "\n".join(problems) + "\nstart anew with --resume never"
        )
    return (None if path is None else str(path)), [f"skipped: {problem}" for problem in problems]


def _count_what_is_left(assembly: Assembly) -> None:
    """Epochs end where the samples do: batches that were ragged before leave more updates than a new run would have."""
    loop = assembly.loop
    left = loop.loader.steps_left()
    if left is not None:
        loop.total_steps = loop.step + left


def _continue(assembly: Assembly, snapshot: Snapshot, path: str) -> Counts:
    try:
        checkpoint.check_state(snapshot, path)
        _check_same_run(assembly, snapshot, path)
        state.put_back(assembly.loop, snapshot)
        return Counts(assembly.loop.loader.position, snapshot.state["targets"])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {path}: its state can't be read ({error!r})") from error


def _check_same_run(assembly: Assembly, snapshot: Snapshot, path: str) -> None:
    """The step of a checkpoint means something only for the same model, tokens and samples."""
    identity = run_identity(assembly)
    saved = snapshot.state.get("identity", {})
    for part, value in identity.items():
        if saved.get(part) != value:
            there, here = _difference(saved.get(part), value)
            raise CheckpointError(
                f"checkpoint {path} is of another {part}: {there} there and {here} here; "
                "use its own recipe, or start anew with --resume never"
            )


def _difference(there: Any, here: Any) -> tuple[str, str]:
    """Show two values, of mappings the keys that differ only."""
    if not isinstance(there, dict) or not isinstance(here, dict):
        return str(there), str(here)
    keys = sorted(key for key in there.keys() | here.keys() if there.get(key) != here.get(key))
    first, second = (", ".join(f"{key} {values.get(key)}" for key in keys) for values in (there, here))
    return first, second


def run_identity(assembly: Assembly) -> dict[str, Any]:
    """Return what must be equal for a checkpoint to be continued, as JSON values."""
    recipe = assembly.recipe
    return {
        "model": recipe.model.model_dump(mode="json"),
        "task": recipe.task.name,
        "data": assembly.data.fingerprint,
        "seed": recipe.seed,
        "optimizer": recipe.optimizer.name,
    }


def _read_everywhere(world: World, path: Path) -> Snapshot:
    """Only worker 0's host has to see the checkpoint."""
    first = together(world, lambda: checkpoint.read(path) if world.rank == 0 else None)
    return Snapshot(
        model=broadcast_tensors(world, first.model if first else None),
        optimizer=broadcast_tensors(world, first.optimizer if first else None),
        state=world.gather(first.state if first else None)[0],
    )
