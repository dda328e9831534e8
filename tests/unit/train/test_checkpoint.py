from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from hvdtrain.errors import CheckpointError, RunError
from hvdtrain.train import checkpoint, saving
from hvdtrain.train.checkpoint import Snapshot
from hvdtrain.train.saving import Checkpoints


def snapshot(step: int) -> Snapshot:
    return Snapshot(
        model={"w": torch.arange(6.0).view(2, 3) + step, "b": torch.tensor([0.1], dtype=torch.bfloat16)},
        optimizer={"only.0.exp_avg": torch.ones(2, 3).t(), "only.0.step": torch.tensor(float(step))},
        state={"step": step, "loader": {"position": 7}},
    )


def writer(directory: Path, keep_last: int | None = None) -> Checkpoints:
    return Checkpoints(
        directory, recipe="name: x\n", save_tokenizer=lambda path: path.write_text("{}"), keep_last=keep_last
    )


def test_what_is_saved_is_read_back_exactly(tmp_path: Path) -> None:
    record = writer(tmp_path).save(snapshot(3))
    back = checkpoint.read(tmp_path / "step-3")
    for name, tensor in snapshot(3).model.items():
        assert torch.equal(back.model[name], tensor)
        assert back.model[name].dtype == tensor.dtype
    for name, tensor in snapshot(3).optimizer.items():
        assert torch.equal(back.optimizer[name], tensor)
    assert back.state == snapshot(3).state
    assert record.path == str(tmp_path / "step-3")
    assert record.bytes == sum(path.stat().st_size for path in (tmp_path / "step-3").iterdir())


def test_nothing_but_whole_checkpoints_is_left(tmp_path: Path) -> None:
    writer(tmp_path).save(snapshot(3))
    assert [path.name for path in tmp_path.iterdir()] == ["step-3"]


def test_only_the_last_are_kept(tmp_path: Path) -> None:
    for step in (5, 20, 100):
        writer(tmp_path, keep_last=2).save(snapshot(step))
    assert [step for step, _ in checkpoint.found(tmp_path)] == [100, 20]


@pytest.mark.parametrize(
    "victim", ["model.safetensors", "optimizer.safetensors", "state.json", "tokenizer.json", "recipe.yaml"]
)
def test_a_damaged_file_is_found_and_the_older_checkpoint_wins(tmp_path: Path, victim: str) -> None:
    for step in (1, 2):
        writer(tmp_path).save(snapshot(step))
    file = tmp_path / "step-2" / victim
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=victim):
        checkpoint.read(tmp_path / "step-2")
    path, problems = checkpoint.newest(tmp_path)
    assert path == tmp_path / "step-1"
    assert victim in problems[0]


@pytest.mark.parametrize("victim", ["model.safetensors", "manifest.json"])
def test_a_missing_file_is_found(tmp_path: Path, victim: str) -> None:
    writer(tmp_path).save(snapshot(2))
    (tmp_path / "step-2" / victim).unlink()
    assert checkpoint.newest(tmp_path)[0] is None


def test_a_manifest_cannot_point_outside(tmp_path: Path) -> None:
    writer(tmp_path).save(snapshot(2))
    manifest = tmp_path / "step-2" / "manifest.json"
    values = json.loads(manifest.read_text())
    secret = tmp_path / "secret"
    secret.write_text("x")
    values["files"]["../secret"] = checkpoint.sha256(secret)
    manifest.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="missing"):
        checkpoint.verify(tmp_path / "step-2")


def test_a_failed_write_leaves_the_older_checkpoint_and_no_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer(tmp_path).save(snapshot(1))

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "save_file", full)
    with pytest.raises(RunError, match="No space left on device"):
        writer(tmp_path).save(snapshot(2))
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    checkpoint.verify(tmp_path / "step-1")


def test_locate_takes_a_run_a_folder_of_checkpoints_or_a_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for step in (9, 10):
        writer(folder).save(snapshot(step))
    assert checkpoint.locate(tmp_path) == checkpoint.locate(folder) == folder / "step-10"
    assert checkpoint.locate(folder / "step-9") == folder / "step-9"


def test_locate_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        checkpoint.locate(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        checkpoint.locate(tmp_path / "nowhere")


def test_one_that_a_run_prunes_while_it_is_read_gives_way_to_the_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer(tmp_path, keep_last=1).save(snapshot(1))
    verify, verified = checkpoint.verify, []

    def slow(path: Path) -> None:
        verified.append(path.name)
        if len(verified) == 1:
            writer(tmp_path, keep_last=1).save(snapshot(2))
        verify(path)

    monkeypatch.setattr(checkpoint, "verify", slow)
    assert checkpoint.newest(tmp_path) == (tmp_path / "step-2", [])
    assert verified == ["step-1", "step-2"]


def test_the_best_is_kept_beyond_the_last(tmp_path: Path) -> None:
    checkpoints = writer(tmp_path, keep_last=1)
    assert checkpoints.best is None
    for step in (1, 2, 3, 4):
        checkpoints.save(snapshot(step), {"value": 0.5} if step == 2 else None)
    assert [step for step, _ in checkpoint.found(tmp_path)] == [4, 2]
    assert checkpoints.best == str(tmp_path / "step-2")
    assert checkpoint.locate(tmp_path, "best") == tmp_path / "step-2"
    assert checkpoint.locate(tmp_path, "newest") == tmp_path / "step-4"
    assert json.loads((tmp_path / "best.json").read_text()) == {"checkpoint": "step-2", "value": 0.5}


def test_a_better_one_takes_its_place(tmp_path: Path) -> None:
    checkpoints = writer(tmp_path, keep_last=1)
    for step in (1, 2, 3):
        checkpoints.save(snapshot(step), {} if step < 3 else None)
    assert [step for step, _ in checkpoint.found(tmp_path)] == [3, 2]


@pytest.mark.parametrize("content", ["", "[]", '{"checkpoint": "../step-1"}', '{"checkpoint": "step-9"}'])
def test_a_mark_that_means_no_checkpoint_leaves_the_newest(tmp_path: Path, content: str) -> None:
    writer(tmp_path).save(snapshot(3))
    (tmp_path / "best.json").write_text(content)
    assert checkpoint.locate(tmp_path, "best") == tmp_path / "step-3"


WHOLE = {
    "step": 2, "world_size": 1, "global_batch_size": 4, "targets": 9, "precision": "fp32",
    "loader": {}, "optimizers": {}, "encoder": {}, "identity": {}, "skipped": [0], "rollbacks": 0,
    "owes_evaluation": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", -1),
        ("step", 2**63),
        ("step", "2"),
        ("identity", None),
        ("loader", []),
        ("encoder", None),
        ("rollbacks", 0.5),
    ],
)
def test_a_state_that_can_not_be_is_refused(key: str, value: object) -> None:
    good = Snapshot(model={}, optimizer={}, state=WHOLE)
    checkpoint.check_state(good, "here")
    with pytest.raises(CheckpointError, match=f"here: its state's {key} is"):
        checkpoint.check_state(Snapshot({}, {}, {**WHOLE, key: value}), "here")
    without = {name: kept for name, kept in WHOLE.items() if name != key}
    with pytest.raises(CheckpointError, match=f"its state's {key} is 'None'"):
        checkpoint.check_state(Snapshot({}, {}, without), "here")


def test_a_manifest_that_is_no_plain_file_is_not_opened(tmp_path: Path) -> None:
    """A link may lead to what never ends, and a pipe waits for ever."""
    writer(tmp_path).save(snapshot(2))
    manifest = tmp_path / "step-2" / "manifest.json"
    kept = manifest.read_text()
    manifest.unlink()
    manifest.symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=r"manifest\.json is no plain file"):
        checkpoint.verify(tmp_path / "step-2")
    manifest.unlink()
    os.mkfifo(manifest)
    with pytest.raises(CheckpointError, match=r"manifest\.json is no plain file"):
        checkpoint.verify(tmp_path / "step-2")
    manifest.unlink()
    manifest.write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="nested too deeply"):
        checkpoint.verify(tmp_path / "step-2")
    manifest.unlink()
    manifest.write_text(kept)
    checkpoint.verify(tmp_path / "step-2")


def test_a_tokenizer_that_the_manifest_does_not_name_is_refused(tmp_path: Path) -> None:
    writer(tmp_path).save(snapshot(2))
    manifest = tmp_path / "step-2" / "manifest.json"
    values = json.loads(manifest.read_text())
    del values["files"]["tokenizer.json"]
    manifest.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"its tokenizer\.json is not in its manifest"):
        checkpoint.verify(tmp_path / "step-2")


@pytest.mark.parametrize("name", ["../step-1", "../../elsewhere/step-1", "/step-1", "step-1/../step-1"])
def test_the_mark_of_the_best_names_one_of_its_own_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "checkpoints"
    writer(folder).save(snapshot(1))
    writer(tmp_path).save(snapshot(1))
    (folder / "best.json").write_text(json.dumps({"checkpoint": name}))
    assert checkpoint.best(folder) is None


def test_a_mark_that_a_kill_left_behind_is_set_right(tmp_path: Path) -> None:
    """Killed between the rename of the new best and its mark: the state knows, the mark still names the one before."""
    checkpoints = writer(tmp_path)
    checkpoints.save(snapshot(1), {"step": 1})
    checkpoints.save(snapshot(2))
    writer(tmp_path).begin(2, {"step": 2, "value": 0.1})
    assert checkpoint.best(tmp_path) == tmp_path / "step-2"
