"""Checkpoints under kills, full disks and hostile folders: what was good stays good until the new one is whole."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from hvdtrain.errors import RunError
from hvdtrain.train import checkpoint, saving
from hvdtrain.train.checkpoint import Snapshot
from hvdtrain.train.saving import Checkpoints


def snapshot(step: int) -> Snapshot:
    return Snapshot(
        model={"w": torch.full((64, 64), float(step))},
        optimizer={"only.0.exp_avg": torch.full((64, 64), -float(step))},
        state={"step": step, "loader": {"position": 7 * step}},
    )


def writer(directory: Path, keep_last: int | None = None) -> Checkpoints:
    return Checkpoints(
        directory, recipe="name: x\n", save_tokenizer=lambda path: path.write_text("{}"), keep_last=keep_last
    )


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing beyond it fails as on a full disk, at exactly that byte, in whatever library it happens."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("room", [0, 10, 100, 1000, 16_000])
def test_a_disk_that_fills_up_leaves_the_older_checkpoint_and_no_remains(tmp_path: Path, room: int) -> None:
    checkpoints = writer(tmp_path, keep_last=1)
    checkpoints.save(snapshot(1))
    with files_of_at_most(room), pytest.raises(RunError, match=r"can't write checkpoint .*step-2.*older .* untouched"):
        checkpoints.save(snapshot(2))
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert checkpoint.read(tmp_path / "step-1").state == snapshot(1).state
    checkpoints.save(snapshot(3))
    assert checkpoint.newest(tmp_path)[0] == tmp_path / "step-3"


KILLED = """
import os, random, signal, sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_saving import snapshot, writer
import torch
from hvdtrain.train import checkpoint

torch.set_num_threads(1)
folder, draw, step = Path(sys.argv[1]), random.Random(0), 1
writer(folder, 1).save(snapshot(step))
for trial in range(40):
    child = os.fork()
    if not child:
        while True:
            step += 1
            writer(folder, 1).save(snapshot(step), {"step": step})
    while trial % 2 and max((found for found, _ in checkpoint.found(folder)), default=0) <= step:
        time.sleep(0.001)  # on a busy machine it would never come to write one
    time.sleep(draw.uniform(0.002, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found, problems = checkpoint.newest(folder)
    assert found is not None and not problems, (trial, problems)
    read = checkpoint.read(found)
    assert read.state == snapshot(read.state["step"]).state and found.name == f"step-{read.state['step']}"
    assert torch.equal(read.model["w"], snapshot(read.state["step"]).model["w"])
    step = read.state["step"]
    writer(folder, 1).begin(step, None)
    assert not list(folder.glob(".step-*")), list(folder.iterdir())
print(step)
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """40 kills of a process that saves as fast as it can, and prunes; none may leave one that is damaged."""
    command = [sys.executable, "-c", KILLED, str(tmp_path / "checkpoints"), str(Path(__file__).parent)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout) > 20


def test_an_earlier_one_of_the_same_step_is_set_aside_not_deleted(tmp_path: Path) -> None:
    writer(tmp_path).save(snapshot(1))
    other = Snapshot(model={"w": torch.zeros(1)}, optimizer={}, state={"step": 1})
    writer(tmp_path).save(other)
    assert checkpoint.read(tmp_path / "step-1").state == other.state
    assert checkpoint.read(tmp_path / "step-1.abandoned").state == snapshot(1).state
    assert checkpoint.newest(tmp_path) == (tmp_path / "step-1", [])


def test_one_that_is_half_removed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it removes: nothing is left that looks like a checkpoint, and the next run takes the rest away."""
    monkeypatch.setattr(saving.shutil, "rmtree", lambda path, **how: None)
    for step in (1, 2):
        writer(tmp_path, keep_last=1).save(snapshot(step))
    assert [step for step, _ in checkpoint.found(tmp_path)] == [2]
    monkeypatch.undo()
    writer(tmp_path).begin(2, None)
    assert [path.name for path in tmp_path.iterdir()] == ["step-2"]


def test_a_folder_that_vanished_is_made_again(tmp_path: Path) -> None:
    checkpoints = writer(tmp_path / "run" / "checkpoints")
    checkpoints.save(snapshot(1))
    shutil.rmtree(tmp_path / "run")
    checkpoints.save(snapshot(2))
    assert checkpoint.newest(tmp_path / "run" / "checkpoints")[0] == tmp_path / "run" / "checkpoints" / "step-2"


def test_an_error_after_the_rename_says_that_the_checkpoint_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = saving.sync

    def refuses_the_folder(path: Path) -> None:
        if (path / "step-1").is_dir():
            raise OSError(13, "Permission denied")
        sync(path)

    monkeypatch.setattr(saving, "sync", refuses_the_folder)
    with pytest.raises(RunError, match=r"step-1 is whole, but can't be synced.*Permission denied"):
        writer(tmp_path / "checkpoints").save(snapshot(1))
    checkpoint.verify(tmp_path / "checkpoints" / "step-1")


def test_everything_is_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut may leave a checkpoint under its name whose bytes never reached the disk."""
    events: list[str] = []
    sync, rename = saving.sync, Path.rename

    def note(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def noted(path: Path, *rest: object) -> object:
            events.append(f"{name} {path.name}")
            return call(path, *rest)

        return noted

    monkeypatch.setattr(saving, "sync", note("sync", sync))
    monkeypatch.setattr(Path, "rename", note("rename", rename))
    writer(tmp_path / "checkpoints").save(snapshot(1))
    renamed = events.index("rename .step-1.partial")
    files = {
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
        "recipe.yaml",
        "tokenizer.json",
        "manifest.json",
    }
    assert {f"sync {name}" for name in (*files, ".step-1.partial")} <= set(events[:renamed])
    assert "sync checkpoints" in events[renamed:]
    assert f"sync {tmp_path.name}" in events[:renamed], "the folder's own name must be on the disk too"
