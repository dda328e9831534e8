"""Binary classification, held against scikit-learn, whatever the number of workers that the samples were dealt to."""

from __future__ import annotations

import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score
from torch import Tensor

from hvdtrain.data.encoders import TableEncoder
from hvdtrain.errors import RecipeError
from hvdtrain.tasks._binary_classification import BinaryClassification
from hvdtrain.tasks._scores import auc
from hvdtrain.tasks.binary_classification import Config, build

ENCODER = TableEncoder(class_names=("no", "yes"), mean=np.zeros(1), std=np.ones(1))


def task(**values: object) -> BinaryClassification:
    return build(Config(**values), ENCODER)


def samples(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits that know something, rounded so that many are tied, and targets, a third of them positive."""
    generator = torch.Generator().manual_seed(seed)
    targets = (torch.rand(count, generator=generator) < 1 / 3).long()
    logits = torch.randn(count, 1, generator=generator) + targets[:, None] * 1.5 - 0.7
    return (logits * 2).round() / 2 + 0.1, targets


@pytest.mark.parametrize("shares", [1, 2, 3, 60])
def test_metrics_are_scikit_learns(supervised: SimpleNamespace, shares: int) -> None:
    logits, targets = samples(53)
    scores = logits[:, 0].double()
    assert len(scores.unique()) < len(scores) / 2, "many scores are tied"
    said = scores > 0
    assert supervised.evaluated(task(), logits, targets, shares) == pytest.approx(
        {
            "loss": log_loss(targets, torch.sigmoid(scores)),
            "accuracy": accuracy_score(targets, said),
            "f1": f1_score(targets, said),
            "auc": roc_auc_score(targets, scores),
        },
        abs=1e-6,
    )


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
@settings(max_examples=60, deadline=None)
def test_auc_is_scikit_learns_whatever_the_ties(rows: list[tuple[int, bool]]) -> None:
    scores, positive = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    found = auc(scores, positive)
    if len(positive.unique()) < 2:
        assert found is None
    else:
        assert found == pytest.approx(roc_auc_score(positive, scores))
        assert auc(scores.flip(0), positive.flip(0)) == found


def test_auc_of_infinite_scores_is_theirs_and_of_nan_is_not_defined() -> None:
    positive = torch.tensor([1.0, 0.0, 1.0])
    assert auc(torch.tensor([math.inf, -math.inf, 0.0]), positive) == 1
    assert auc(torch.tensor([math.nan, 0.0, 1.0]), positive) is None


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_auc(supervised: SimpleNamespace, label: int) -> None:
    found = supervised.evaluated(task(), torch.full((3, 1), -1.0), torch.full((3,), label))
    assert found["accuracy"] == 1 - label
    assert found.get("f1") == (0 if label else None)
    assert "auc" not in found


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_the_loss_is_a_sum_in_which_positive_samples_weigh(supervised: SimpleNamespace, weight: float) -> None:
    logits, targets = samples(11)
    one = task(positive_weight=weight)
    one.to(torch.device("cpu"))
    loss = one.phases[0].loss(supervised.Answers(logits), supervised.batch(targets))
    probability = torch.sigmoid(logits[:, 0].double())
    terms = torch.where(targets == 1, -weight * probability.log(), -(1 - probability).log())
    torch.testing.assert_close(loss.double(), terms.sum(), rtol=1e-5, atol=0)
    assert supervised.evaluated(one, logits, targets) == supervised.evaluated(task(), logits, targets)


def test_far_logits_have_a_finite_loss(supervised: SimpleNamespace) -> None:
    logits = torch.tensor([[200.0], [-200.0]])
    loss = task().phases[0].loss(supervised.Answers(logits), supervised.batch(torch.tensor([0, 1])))
    assert loss.item() == pytest.approx(400)


def test_an_empty_batch_has_a_loss_of_zero_with_a_graph(supervised: SimpleNamespace) -> None:
    model = supervised.Answers(torch.randn(3, 1))
    loss = task().phases[0].loss(model, supervised.batch(torch.zeros(3, dtype=torch.int64), torch.arange(0)))
    loss.backward()
    assert loss.item() == 0
    assert not model.outputs.grad.any()


def test_predictions_name_the_class_and_its_probability(supervised: SimpleNamespace) -> None:
    logits = torch.tensor([[2.0], [-1.0]])
    found = task().predict(supervised.Answers(logits), {"inputs": torch.tensor([[0.0], [1.0]])})
    assert [row["class"] for row in found] == ["yes", "no"]
    yes, no = (1 / (1 + math.exp(-x)) for x in (2, 1))
    assert [row["probability"] for row in found] == pytest.approx([yes, no])


def test_the_reference_is_the_training_majority(supervised: SimpleNamespace) -> None:
    data = supervised.prepared(ENCODER, train=[1, 1, 0], test=[1, 0, 1, 1], references={})
    assert task().references(data, "test") == {"accuracy": {"always the most frequent class": 0.75}}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), r"needs a class for each sample, .* take task: \{name: regression\}"),
        (("a", "b", "c"), r"the data of this recipe has 3 classes \(a, b, c\); take task: \{name: classification\}"),
    ],
)
def test_data_without_two_classes_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=f"task.name = binary_classification: {message}"):
        build(Config(), TableEncoder(mean=np.zeros(1), class_names=names))


def test_importing_and_validating_needs_no_torch() -> None:
    code = "import sys, hvdtrain.tasks.binary_classification as c; c.Config(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(ValidationError, match="positive_weight"):
        Config(positive_weight=0.0)
