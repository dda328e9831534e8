"""The cache: entries are whole or absent, are built once, and are built again when damaged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hvdtrain.data import cache
from hvdtrain.errors import DataError


class Builder:
    """Builds an entry of two files, and counts how often it did."""

    def __init__(self) -> None:
        self.builds = 0

    def __call__(self, folder: Path) -> dict[str, Any]:
        self.builds += 1
        (folder / "a.bin").write_bytes(b"0123456789")
        (folder / "b.bin").write_bytes(b"")
        return {"built": self.builds}


def test_the_root_is_where_the_environment_says_else_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HVDTRAIN_CACHE", "~/somewhere")
    assert cache.root() == Path.home() / "somewhere"
    monkeypatch.setenv("HVDTRAIN_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.root() == tmp_path / "hvdtrain"


def test_an_entry_is_built_once_and_found_after(tmp_path: Path) -> None:
    build, entry = Builder(), tmp_path / "deep" / "entry"
    assert cache.read(entry) is None
    assert [cache.ensure(entry, build) for _ in range(3)] == [{"built": 1}] * 3
    assert build.builds == 1
    assert sorted(path.name for path in entry.iterdir()) == ["a.bin", "b.bin", "manifest.json"]
    assert sorted(path.name for path in entry.parent.iterdir()) == ["entry", "entry.lock"]


def replace_byte(entry: Path) -> None:
    (entry / "a.bin").write_bytes(b"0123X56789")


def truncate(entry: Path) -> None:
    (entry / "a.bin").write_bytes(b"01234")


def remove(entry: Path) -> None:
    (entry / "b.bin").unlink()


def tear_manifest(entry: Path) -> None:
    (entry / "manifest.json").write_text((entry / "manifest.json").read_text()[:40])


def strange_manifest(entry: Path) -> None:
    (entry / "manifest.json").write_text(json.dumps({"files": [], "facts": {}}))


@pytest.mark.parametrize("damage", [replace_byte, truncate, remove, tear_manifest, strange_manifest])
def test_damage_is_seen_and_the_entry_is_built_again(damage: Callable[[Path], None], tmp_path: Path) -> None:
    build, entry = Builder(), tmp_path / "entry"
    cache.ensure(entry, build)
    damage(entry)
    assert cache.read(entry) is None
    assert cache.ensure(entry, build) == {"built": 2}
    assert cache.read(entry) == {"built": 2}
    assert (entry / "a.bin").read_bytes() == b"0123456789"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["entry", "entry.lock"]


@pytest.mark.parametrize("error", [DataError("bad text"), KeyboardInterrupt()])
def test_a_build_that_fails_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    def build(folder: Path) -> dict[str, Any]:
        (folder / "half").write_text("x")
        raise error

    with pytest.raises(type(error)):
        cache.ensure(tmp_path / "entry", build)
    assert [path.name for path in tmp_path.iterdir()] == ["entry.lock"]
    assert cache.ensure(tmp_path / "entry", Builder()) == {"built": 1}


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    other = tmp_path / ".entry-2.building-x"
    left = tmp_path / ".entry.building-x"
    for folder in (left, other):
        folder.mkdir()
        (folder / "half").write_text("x")
    cache.ensure(tmp_path / "entry", Builder())
    assert not left.exists()
    assert other.exists()


ASK = """
import os, sys, time
from pathlib import Path
from hvdtrain.data import cache

def build(folder):
    print("building", flush=True)
    (folder / "pid").write_text(str(os.getpid()))
    time.sleep(float(sys.argv[2]))
    return {"pid": os.getpid()}

facts = cache.ensure(Path(sys.argv[1]), build)
print("got", facts["pid"], (Path(sys.argv[1]) / "pid").read_text(), flush=True)
"""


def ask(entry: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ASK, str(entry), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_that_ask_together_build_once(tmp_path: Path) -> None:
    processes = [ask(tmp_path / "entry", 0.5) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert sum("building" in output for output in outputs) == 1
    assert len({output.replace("building\n", "") for output in outputs}) == 1
    assert all(process.returncode == 0 for process in processes)


def test_a_killed_builder_does_not_keep_others_out(tmp_path: Path) -> None:
    victim = ask(tmp_path / "entry", 60)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "building\n"
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    heir = ask(tmp_path / "entry", 0)
    assert heir.communicate(timeout=30)[0].startswith("building\ngot")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["entry", "entry.lock"]


def test_a_cache_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write to the cache at .*file/deep: Not a directory.*HVDTRAIN_CACHE"):
        cache.ensure(tmp_path / "file" / "deep" / "entry", Builder())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_serves_what_it_has(tmp_path: Path) -> None:
    cache.ensure(tmp_path / "entry", Builder())
    tmp_path.chmod(0o555)
    try:
        assert cache.ensure(tmp_path / "entry", Builder()) == {"built": 1}
        with pytest.raises(DataError, match=r"cannot write to the cache at .*Permission denied"):
            cache.ensure(tmp_path / "other", Builder())
    finally:
        tmp_path.chmod(0o755)
