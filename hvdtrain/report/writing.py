"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader finds the old or the new one, never a part."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content if isinstance(content, bytes) else content.encode(errors="backslashreplace"))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def to_json(values: Mapping[str, Any]) -> str:
    """Return values as JSON text for people and programs."""
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
