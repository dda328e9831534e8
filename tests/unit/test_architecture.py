"""The import rule of CONTRIBUTING.md, the registry, and what may not be imported, held by walking the code."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hvdtrain
from hvdtrain import registry

ROOT = Path(hvdtrain.__file__).parent
BASE = {"", "errors", "registry", "registered", "launched", "eager"}
MAY_IMPORT = {
    "metrics": set(),
    "models": {"metrics"},
    "data": {"metrics"},
    "world": {"metrics"},
    "tasks": {"metrics", "models", "data", "world"},
    "sync": {"metrics", "models", "data", "world"},
    "recipe": set(),
    "train": {"metrics", "models", "data", "world", "tasks", "sync", "recipe"},
    "report": {"metrics", "recipe"},
    "launch": {"metrics", "recipe", "report"},
    "scaling": {"metrics", "recipe", "report", "launch"},
    "cli": {"metrics", "models", "data", "world", "tasks", "sync", "recipe", "train", "report", "launch", "scaling"},
    "errors": set(),
    "eager": set(),
    "launched": set(),
    "registry": set(),
    "registered": set(),
    "__main__": {"cli"},
    "__init__": set(),
}


def files() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if "_recipes" not in path.parts)


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it, with the names that may be submodules."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def is_module(name: str) -> bool:
    base = ROOT.parent.joinpath(*name.split("."))
    return base.is_dir() or base.with_suffix(".py").is_file()


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_the_layers_before_its_own(path: Path) -> None:
    own = layer(path)
    allowed = MAY_IMPORT[own] | BASE | {own}
    if path.parent == ROOT / "scaling" / "worker":  # runs inside workers
        allowed |= MAY_IMPORT["train"] | {"train"}
    for name in imported(path):
        if name.split(".")[0] == "hvdtrain" and is_module(name):
            assert [*name.split("."), ""][1] in allowed, f"{own} may not import {name}"
    if own == "metrics":
        assert not any(name.startswith(("torch", "hvdtrain.")) and "metrics" not in name for name in imported(path))


def test_registered_files_of_one_folder_never_import_each_other() -> None:
    for package in registry.PACKAGES.values():
        folder = ROOT.parent.joinpath(*package.split("."))
        entries = {f"{package}.{path.stem}" for path in folder.glob("[!_]*.py")}
        for path in folder.glob("[!_]*.py"):
            assert not set(imported(path)) & (entries - {f"{package}.{path.stem}"}), path


def test_only_world_and_sync_import_horovod() -> None:
    """And its launcher, which is no part of its runtime, the one file that stands for it."""
    importers = {path for path in files() if any(name.split(".")[0] == "horovod" for name in imported(path))}
    assert {layer(path) for path in importers - {ROOT / "launch" / "doors.py"}} <= {"world", "sync"}


def test_nothing_is_unpickled() -> None:
    for path in files():
        assert not {"pickle", "cloudpickle", "dill", "marshal", "shelve"} & {n.split(".")[0] for n in imported(path)}, (
            path
        )
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("torch", "load"), ("hvd", "broadcast_object")}, path


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'horovod', 'tokenizers', 'safetensors', 'pandas', 'matplotlib'}"
    code = f"import sys, hvdtrain.cli.app; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in registry.PACKAGES for name in registry.names(kind)]
)
def test_every_registered_config_is_light_and_named_as_its_file(kind: str, name: str) -> None:
    code = (
        "import sys; from hvdtrain import registry; "
        f"c = registry.config_class({kind!r}, {name!r}); print(c.model_fields['name'].default, 'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [name, "False"]
    assert issubclass(registry.config_class(kind, name), registry.RegisteredConfig)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    from hvdtrain.errors import RecipeError

    with pytest.raises(RecipeError, match=r"known: .*gpt.*did you mean 'gpt'"):
        registry.find("models", "gtp")
