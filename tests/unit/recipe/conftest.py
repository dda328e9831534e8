from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal

import pytest

from hvdtrain import registry
from hvdtrain.recipe import LoadedRecipe, load

WHOLE = """\
name: trial
task: {name: language_modeling}
model: {name: gpt, d_model: 64, n_layers: 2, n_heads: 2}
data: {name: shakespeare, max_seq_len: 32}
tokenizer: {name: bytes}
optimizer:
  name: adamw
  lr: 1e-3
  betas: [0.9, 0.95]
train:
  max_steps: 20
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a recipe file; without content, a whole and valid recipe."""

    def write_file(content: str | bytes = WHOLE, name: str = "trial.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


@pytest.fixture
def loaded(write: Callable[..., Path]) -> Callable[..., LoadedRecipe]:
    """Load the whole recipe with overrides."""
    return lambda *overrides: load(write(), overrides)


@pytest.fixture
def other_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A model `other_net` with `d_model` and `n_cells`, registered by another installed package."""

    class Config(registry.RegisteredConfig):
        name: Literal["other_net"] = "other_net"
        d_model: int = 8
        n_cells: int = 1

    module = types.ModuleType("another_package_other_net")
    module.Config = Config  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    entry = EntryPoint("other_net", module.__name__, "hvdtrain.models")
    monkeypatch.setattr(registry, "entry_points", lambda group: (entry,) if group == entry.group else ())
    registry.names.cache_clear()
    registry._foreign.cache_clear()
    yield
    registry.names.cache_clear()
    registry._foreign.cache_clear()
