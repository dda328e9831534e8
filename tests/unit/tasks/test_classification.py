"""Classification, held against scikit-learn, whatever the number of workers that the samples were dealt to."""

from __future__ import annotations

import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score
from torch import Tensor

from hvdtrain.data.encoders import (
    CorpusEncoder,
    EnvironmentEncoder,
    ImageEncoder,
    PairEncoder,
    TableEncoder,
    TextEncoder,
)
from hvdtrain.data.tokenizers import bytes as byte_tokens
from hvdtrain.errors import RecipeError
from hvdtrain.models._spec import DataSpec
from hvdtrain.tasks._classification import Classification
from hvdtrain.tasks.classification import Config, build

CLOSE = 1e-6


def encoder(classes: int = 4) -> TableEncoder:
    return TableEncoder(class_names=tuple("abcdefghijklmnop"[:classes]), mean=np.zeros(1), std=np.ones(1))


def task(classes: int = 4, **values: object) -> Classification:
    return build(Config(**values), encoder(classes))


def samples(count: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits that know something, rounded so that many are tied, and targets."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (count,), generator=generator)
    logits = torch.randn(count, classes, generator=generator) + torch.nn.functional.one_hot(targets, classes)
    return (logits * 2).round() / 2 + torch.arange(classes) * 1e-3, targets


@pytest.mark.parametrize("shares", [1, 2, 3, 40])
@pytest.mark.parametrize("classes", [2, 4])
def test_metrics_are_scikit_learns(supervised: SimpleNamespace, classes: int, shares: int) -> None:
    logits, targets = samples(37, classes)
    found = supervised.evaluated(task(classes), logits, targets, shares)
    said = logits.argmax(1)
    probabilities = logits.double().softmax(1)
    expected = {
        "loss": log_loss(targets, probabilities),
        "accuracy": accuracy_score(targets, said),
        "f1": f1_score(targets, said, average="macro"),
    }
    if classes == 2:
        difference = logits[:, 1] - logits[:, 0]
        assert len(difference.unique()) < len(difference), "some scores are tied"
        expected["auc"] = roc_auc_score(targets, difference)
    assert found == pytest.approx(expected, abs=CLOSE)


def test_f1_leaves_out_classes_that_neither_occur_nor_are_said(supervised: SimpleNamespace) -> None:
    targets = torch.tensor([0, 0, 1, 1, 0])
    said = torch.tensor([0, 2, 1, 0, 0])
    found = supervised.evaluated(task(5), torch.eye(5)[said] * 3, targets)
    assert found["f1"] == pytest.approx(f1_score(targets, said, average="macro"))
    assert found["f1"] == pytest.approx((2 * 2 / 6 + 2 / 3 + 0) / 3)


def test_scores_that_round_to_equal_probabilities_still_have_an_order(supervised: SimpleNamespace) -> None:
    logits = torch.tensor([[0.0, 40.0], [0.0, 50.0], [0.0, 45.0]])
    assert supervised.evaluated(task(2), logits, torch.tensor([0, 1, 0]))["auc"] == 1


def test_one_class_has_no_auc(supervised: SimpleNamespace) -> None:
    found = supervised.evaluated(task(2), samples(6, 2)[0], torch.ones(6, dtype=torch.int64))
    assert found.keys() == {"loss", "accuracy", "f1"}


def test_a_model_that_diverged_has_metrics_that_say_so(supervised: SimpleNamespace) -> None:
    found = supervised.evaluated(task(2), torch.full((4, 2), math.nan), torch.tensor([0, 1, 0, 1]))
    assert math.isnan(found["loss"])
    assert "auc" not in found


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_a_sum_and_smoothing_is_spread_over_all_classes(
    supervised: SimpleNamespace, smoothing: float
) -> None:
    logits, targets = samples(9, 4)
    model, [phase] = supervised.Answers(logits), task(label_smoothing=smoothing).phases
    loss = phase.loss(model, supervised.batch(targets))
    wanted = torch.eye(4)[targets] * (1 - smoothing) + smoothing / 4
    torch.testing.assert_close(loss, -(wanted * logits.log_softmax(1)).sum())
    loss.backward()
    torch.testing.assert_close(model.outputs.grad, logits.softmax(1) - wanted)


def test_held_out_loss_is_without_smoothing(supervised: SimpleNamespace) -> None:
    data = samples(9, 4)
    assert supervised.evaluated(task(label_smoothing=0.3), *data) == supervised.evaluated(task(), *data)


def test_an_empty_batch_has_a_loss_of_zero_with_a_graph(supervised: SimpleNamespace) -> None:
    model, [phase] = supervised.Answers(torch.randn(3, 4)), task().phases
    loss = phase.loss(model, supervised.batch(torch.zeros(3, dtype=torch.int64), torch.arange(0)))
    loss.backward()
    assert loss.item() == 0
    assert not model.outputs.grad.any()


def test_losses_of_bf16_logits_are_summed_in_float32(supervised: SimpleNamespace) -> None:
    logits = torch.zeros(2048, 4, dtype=torch.bfloat16)
    [phase] = task().phases
    loss = phase.loss(supervised.Answers(logits), supervised.batch(torch.zeros(2048, dtype=torch.int64)))
    assert loss.item() == pytest.approx(2048 * math.log(4), rel=1e-5)


def test_predictions_are_the_most_probable_classes(supervised: SimpleNamespace) -> None:
    probabilities = torch.tensor([[0.1, 0.2, 0.65, 0.05], [0.4, 0.3, 0.1, 0.2]])
    first, second = task().predict(supervised.Answers(probabilities.log()), {"inputs": torch.tensor([[0.0], [1.0]])})
    assert first["class"] == "c"
    assert first["probability"] == pytest.approx(0.65)
    assert first["probabilities"] == pytest.approx({"a": 0.1, "b": 0.2, "c": 0.65, "d": 0.05})
    assert second["class"] == "a"
    assert second["probabilities"] == pytest.approx({"a": 0.4, "b": 0.3, "d": 0.2, "c": 0.1})


def test_an_empty_batch_has_no_predictions(supervised: SimpleNamespace) -> None:
    assert task().predict(supervised.Answers(torch.zeros(1, 4)), {"inputs": torch.zeros(0, 1)}) == []


def test_the_reference_is_the_training_majority_on_what_is_held_out(supervised: SimpleNamespace) -> None:
    given = {"accuracy": {"best that the noise allows": 0.9}, "loss": {"other": 1.0}}
    data = supervised.prepared(encoder(), train=[1, 1, 0, 2], test=[1, 0, 0, 0], references=given)
    majority = "always the most frequent class"
    assert task().references(data, "test") == {
        "accuracy": {majority: 0.25, "best that the noise allows": 0.9},
        "loss": {"other": 1.0},
    }
    assert task().references(data, "val") == {"accuracy": {majority: 0.0}}, "what is given is of the test part"
    without_test = supervised.prepared(encoder(), train=[0, 0, 1], test=[], references=given)
    assert task().references(without_test, "val")["accuracy"] == {majority: 1.0, "best that the noise allows": 0.9}


def test_models_are_told_what_the_data_are() -> None:
    classes = ("x", "y", "z")
    tokenizer = byte_tokens.train(byte_tokens.Config(), iter(()))
    image = ImageEncoder(shape=(3, 8, 9), class_names=classes)
    assert build(Config(), image).spec == DataSpec(image=(3, 8, 9), outputs=3)
    table = TableEncoder(mean=np.zeros(7), std=np.ones(7), class_names=classes)
    assert build(Config(), table).spec == DataSpec(features=7, outputs=3)
    text = TextEncoder(max_seq_len=12, class_names=classes, tokenizer=tokenizer)
    assert build(Config(), text).spec == DataSpec(tokenizer.vocab_size, 12, tokenizer.eos_id, outputs=3)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (TableEncoder(mean=np.zeros(2)), r"none; for targets that are numbers take task: \{name: regression\}"),
        (PairEncoder(class_names=("a", "b")), r"pairs of texts; take task: \{name: translation\}"),
        (CorpusEncoder(class_names=("a", "b")), "reads rows, images or texts, and the data of this recipe are corpus"),
        (EnvironmentEncoder(class_names=("a", "b")), "reads rows, images or texts, .* are environments"),
    ],
)
def test_data_that_can_not_be_classified_are_refused(of: TableEncoder, message: str) -> None:
    with pytest.raises(RecipeError, match=f"task.name = classification: .*{message}"):
        build(Config(), of)


def test_a_model_that_does_not_classify_is_refused(supervised: SimpleNamespace) -> None:
    [phase] = task().phases
    with pytest.raises(RecipeError, match=r"\(Answers\) gives numbers of shape \(2, 5, 4\) .* needs 4 for each"):
        phase.loss(supervised.Answers(torch.zeros(2, 5, 4)), supervised.batch(torch.tensor([0, 1])))


def test_data_without_targets_are_refused(supervised: SimpleNamespace) -> None:
    one, model, data = task(), supervised.Answers(torch.zeros(1, 4)), {"inputs": torch.zeros(1, 1)}
    for compute in (one.phases[0].loss, one.evaluate):
        with pytest.raises(RecipeError, match="needs a target for each sample"):
            compute(model, data)


def test_importing_and_validating_needs_no_torch() -> None:
    code = "import sys, hvdtrain.tasks.classification as c; c.Config(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(ValidationError, match="label_smoothing"):
        Config(label_smoothing=1.0)
