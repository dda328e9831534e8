"""The cache: folders that are built once, by one process, and are found complete and undamaged or not at all.

An entry is a folder with a `manifest.json` that holds the size and SHA-256 of each of its files. It is built beside its
place, synced to the disk and renamed, under a lock, so any number of processes may ask for it together.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from hvdtrain.errors import DataError

MANIFEST = "manifest.json"
BLOCK = 1 << 20


def root() -> Path:
    """Return the folder of all caches: `HVDTRAIN_CACHE` where it is set, else the user's own of this system."""
    chosen = os.environ.get("HVDTRAIN_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("hvdtrain")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read(entry: Path) -> dict[str, Any] | None:
    """Return the facts that the entry was built with, or None where it is missing, incomplete or damaged."""
    try:
        manifest = json.loads((entry / MANIFEST).read_text("utf-8"))
        for name, expected in manifest["files"].items():
            path = entry / name
            if path.stat().st_size != expected["bytes"] or sha256(path) != expected["sha256"]:
                return None
        facts = manifest["facts"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return facts if isinstance(facts, dict) else None


def ensure(entry: Path, build: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Return the facts of an entry, which `build` makes first where it is missing or damaged.

    `build` is given an empty folder, writes files into it, and returns facts, JSON values, to keep with them. Processes
    that ask together build once and all see the result.

    Raises:
        DataError: the cache cannot be written to, the disk is full, or `build` raised it.
    """
    found = read(entry)
    if found is not None:
        return found
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(entry.parent / f"{entry.name}.lock"):
            found = read(entry)
            return found if found is not None else _build(entry, build)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"cannot write to the cache at {entry.parent}: {reason}; make room or mend its permissions there, "
            "or name another folder in the environment variable HVDTRAIN_CACHE"
        ) from error


def _build(entry: Path, build: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Build an entry; the caller holds its lock."""
    prefix = f".{entry.name}.building-"
    _remove(entry.parent, prefix)  # of a process that was killed: only the holder of the lock makes these
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=entry.parent))
    try:
        facts = build(work)
        _seal(work, facts)
        if entry.exists():
            entry.rename(work.with_name(f"{work.name}-damaged"))
        work.rename(entry)
        sync(entry.parent)
    finally:
        _remove(entry.parent, prefix)
    return facts


def _seal(work: Path, facts: dict[str, Any]) -> None:
    """Write the manifest, bring everything to the disk, and let other users of a shared cache read it."""
    files = {}
    for path in sorted(work.iterdir()):
        sync(path)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    manifest = work / MANIFEST
    manifest.write_text(json.dumps({"files": files, "facts": facts}, indent=1), "utf-8")
    sync(manifest)
    work.chmod(0o755)  # mkdtemp made it private
    sync(work)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: Path, prefix: str) -> None:
    for path in folder.iterdir():
        if path.name.startswith(prefix):
            shutil.rmtree(path, ignore_errors=True)
