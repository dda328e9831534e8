"""What a run is made of: the trained model that a task measures with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from hvdtrain.data.encoders import ImageEncoder
from hvdtrain.errors import CheckpointError, SetupError
from hvdtrain.models._spec import DataSpec
from hvdtrain.recipe import load
from hvdtrain.train import opening
from hvdtrain.train.assemble import build_model, make_task

DIGITS = ImageEncoder(shape=(1, 28, 28), mean=np.zeros(1), std=np.ones(1), class_names=("0", "1"))


def test_a_classifier_is_the_best_of_its_run_whatever_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened = []

    def open_trained(path: Path, changes: tuple[str, ...] = (), prefer: str = "newest") -> SimpleNamespace:
        opened.append((path, prefer))
        linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 2))
        return SimpleNamespace(model=linear, encoder=DIGITS)

    monkeypatch.setattr(opening, "open_trained", open_trained)
    monkeypatch.chdir(tmp_path)
    recipe = load("gan-mnist", ["task.classifier=runs/cnn"]).recipe
    monkeypatch.chdir("/")
    make_task(recipe, DIGITS, torch.device("cpu"))
    assert opened == [(tmp_path / "runs" / "cnn", "best")]


def test_a_classifier_that_is_not_there_is_named_with_its_whole_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load("gan-mnist", ["task.classifier=runs/cnn"]).recipe
    with pytest.raises(CheckpointError, match=f"{tmp_path}/runs/cnn does not exist"):
        make_task(recipe, DIGITS, torch.device("cpu"))


def test_a_model_that_does_not_fit_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=10**7))
    recipe = load("gpt-shakespeare", ["model={n_layers: 100, d_model: 64, n_heads: 2}"]).recipe
    with pytest.raises(SetupError, match=r"model gpt can't be built here: its parameters take 0 GB, and this machine"):
        build_model(recipe, DataSpec(65, 16), torch.device("cpu"))
