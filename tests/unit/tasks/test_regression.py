"""Regression, held against scikit-learn, whatever the number of workers that the samples were dealt to."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from torch import Tensor

from hvdtrain.data.encoders import ImageEncoder, TableEncoder
from hvdtrain.errors import RecipeError
from hvdtrain.models._spec import DataSpec
from hvdtrain.tasks._regression import Regression
from hvdtrain.tasks.regression import Config, build

MEAN, STD = 150.0, 20.0
ENCODER = TableEncoder(mean=np.zeros(1), std=np.ones(1), target_mean=MEAN, target_std=STD)


def task() -> Regression:
    return build(Config(), ENCODER)


def samples(count: int, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(count, generator=generator) + offset
    return targets[:, None] + torch.randn(count, 1, generator=generator) * 0.7, targets


@pytest.mark.parametrize("offset", [0.0, 300.0])
@pytest.mark.parametrize("shares", [1, 2, 3, 60])
def test_metrics_are_scikit_learns_in_the_targets_own_units(
    supervised: SimpleNamespace, shares: int, offset: float
) -> None:
    outputs, targets = samples(53, offset)
    true, said = (values.double() * STD + MEAN for values in (targets, outputs[:, 0]))
    assert supervised.evaluated(task(), outputs, targets, shares) == pytest.approx(
        {
            "loss": ((true - said) ** 2).mean().item() / STD**2,
            "r2": r2_score(true, said),
            "rmse": root_mean_squared_error(true, said),
            "mae": mean_absolute_error(true, said),
        },
        rel=1e-9,
    )


@pytest.mark.parametrize("value", [0.0, 0.1, 1234.567])
def test_equal_targets_have_no_r2(supervised: SimpleNamespace, value: float) -> None:
    found = supervised.evaluated(task(), torch.zeros(7, 1), torch.full((7,), value), 3)
    assert found.keys() == {"loss", "rmse", "mae"}


def test_the_loss_is_the_sum_of_squares(supervised: SimpleNamespace) -> None:
    model = supervised.Answers(torch.tensor([[1.0], [2.0], [4.0]]))
    loss = task().phases[0].loss(model, supervised.batch(torch.tensor([0.0, 2.5, 1.0])))
    loss.backward()
    assert loss.item() == 1 + 0.25 + 9
    assert model.outputs.grad.flatten().tolist() == [2.0, -1.0, 6.0]


def test_an_empty_batch_has_a_loss_of_zero_with_a_graph(supervised: SimpleNamespace) -> None:
    model = supervised.Answers(torch.randn(3, 1))
    loss = task().phases[0].loss(model, supervised.batch(torch.zeros(3), torch.arange(0)))
    loss.backward()
    assert loss.item() == 0
    assert not model.outputs.grad.any()


def test_predictions_are_in_the_targets_own_units(supervised: SimpleNamespace) -> None:
    model = supervised.Answers(torch.tensor([[0.0], [-1.5]]))
    found = task().predict(model, {"inputs": torch.tensor([[0.0], [1.0]])})
    assert found == [{"value": MEAN}, {"value": MEAN - 1.5 * STD}]


def test_always_the_mean_is_the_reference(supervised: SimpleNamespace) -> None:
    given = {"r2": {"the day before": 0.3}}
    data = supervised.prepared(ENCODER, train=[0, 1], test=[1], references=given)
    assert task().references(data, "test") == {"r2": {"always the mean": 0.0, "the day before": 0.3}}


def test_models_are_asked_for_one_number() -> None:
    assert task().spec == DataSpec(features=1, outputs=1)
    assert build(Config(), ImageEncoder(shape=(1, 4, 4))).spec == DataSpec(image=(1, 4, 4), outputs=1)


def test_classes_are_refused() -> None:
    message = r"needs a number for each sample, .* has classes; take task: \{name: classification\}"
    with pytest.raises(RecipeError, match=f"task.name = regression: {message}"):
        build(Config(), TableEncoder(mean=np.zeros(1), class_names=("a", "b")))


def test_importing_needs_no_torch() -> None:
    code = "import sys, hvdtrain.tasks.regression as c; c.Config(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
