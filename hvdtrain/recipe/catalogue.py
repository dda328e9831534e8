"""The recipes that come with the package."""

from __future__ import annotations

from pathlib import Path

import hvdtrain


def shipped() -> dict[str, Path]:
    """Return the path of each shipped recipe by its name, such as `base/lm`, from the wheel or the checkout."""
    package = Path(hvdtrain.__file__).parent
    inside = package / "_recipes"
    directory = inside if inside.is_dir() else package.parent / "recipes"
    return {path.relative_to(directory).with_suffix("").as_posix(): path for path in sorted(directory.rglob("*.yaml"))}
