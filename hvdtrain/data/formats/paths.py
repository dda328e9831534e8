"""Which files the paths of a recipe stand for: files, globs and directories."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hvdtrain.data.documents import readable
from hvdtrain.errors import DataError, nearest


def find_files(paths: Iterable[str], key: str, suffixes: Sequence[str]) -> list[tuple[str, Path]]:
    """Return the name, as a person would call it, and the whole path of each file, each file once, in the order of the
    paths and by name within one.

    A path is a file, a glob, or a directory: every file below it that ends with one of the suffixes. Relative paths
    start at the working directory and `~` at the home directory.

    Args:
        key: where the paths are in the recipe, for messages.

    Raises:
        DataError: a path is missing, matches nothing, is no regular file, or finds a link to elsewhere in its folder.
    """
    files: dict[Path, str] = {}
    for path in paths:
        for found in _expand(path, key, suffixes):
            files.setdefault(Path(found).resolve(), found)
    return [(name, path) for path, name in files.items()]


def missing(path: str, key: str) -> DataError:
    """Return the error of a path that does not exist."""
    return _nothing(key, f"{path} does not exist{_nearest_beside(Path(path).expanduser())}")


def visible_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, hidden ones and links to other folders left out."""
    for below, folders, names in os.walk(folder, onerror=_cannot_list):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and (file := Path(below, name)).is_file():
                yield file


def check_inside(folder: Path, entry: Path) -> None:
    """Make sure that what was found in a folder lies in it: a data set from a stranger must bring in nothing else.

    Raises:
        DataError: it is a link to elsewhere.
    """
    if entry.is_symlink() and not entry.resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{entry} is a symbolic link to {entry.resolve()}, outside of {folder}: copy it there, or name its own path"
        )


def _expand(path: str, key: str, suffixes: Sequence[str]) -> list[str]:
    """Return the files that a path of the recipe stands for. A name that exists is never taken for a glob."""
    place = Path(path).expanduser()
    found: list[str] = []
    with readable(path):
        if place.is_dir():
            found = sorted(str(file) for file in visible_files(place) if file.suffix.lower() in suffixes)
            trouble = f"the directory {path} holds no {' or '.join(suffixes)} file; use a glob for others"
        elif place.is_file():
            found, trouble = [str(place)], ""
        elif place.exists():
            trouble = f"{path} is not a regular file"
        elif any(sign in path for sign in "*?["):
            matches = glob.glob(str(place), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
            found, trouble = sorted(filter(os.path.isfile, matches)), f"no file matches {path}"
            named = itertools.takewhile(lambda part: not any(sign in part for sign in "*?["), place.parts)
            place = Path(*named)
        else:
            raise missing(path, key)
    if not found:
        raise _nothing(key, trouble)
    for file in found:
        if file != str(place):
            check_inside(place, Path(file))
    return found


def _nothing(key: str, trouble: str) -> DataError:
    return DataError(f"data.{key}: {trouble} (relative paths start at {Path.cwd()})")


def _cannot_list(error: OSError) -> None:
    raise error


def _nearest_beside(place: Path) -> str:
    folder = place.absolute().parent
    return nearest(place.name, [entry.name for entry in folder.iterdir()]) if folder.is_dir() else ""
