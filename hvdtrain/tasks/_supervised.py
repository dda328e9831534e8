"""What the tasks share that learn a target of each sample: what they read, and marks that a result is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from hvdtrain.data.encoders import Encoder, ImageEncoder, PairEncoder, TableEncoder, TextEncoder
from hvdtrain.errors import RecipeError
from hvdtrain.models._spec import DataSpec
from hvdtrain.tasks._task import Batch

if TYPE_CHECKING:
    from hvdtrain.data.prepared import Dataset, PreparedData

References = Mapping[str, Mapping[str, float]]
MAJORITY = "always the most frequent class"


def spec_of(task: str, encoder: Encoder, outputs: int) -> DataSpec:
    """Return what a model has to know of rows, images or texts, each of which it gives `outputs` numbers for.

    Raises:
        RecipeError: the data are none of them.
    """
    if isinstance(encoder, PairEncoder):
        raise RecipeError(
            f"task.name = {task}: learns a class or a number of each sample, and the data of this recipe are pairs of "
            "texts; take task: {name: translation}"
        )
    if isinstance(encoder, TextEncoder):
        vocab_size = encoder.tokenizer.vocab_size if encoder.tokenizer is not None else 0
        return DataSpec(vocab_size, encoder.max_seq_len, encoder.pad_id, outputs=outputs)
    if isinstance(encoder, TableEncoder):
        return DataSpec(features=len(encoder.mean), outputs=outputs)
    if isinstance(encoder, ImageEncoder):
        return DataSpec(image=encoder.shape, outputs=outputs)
    raise RecipeError(
        f"task.name = {task}: reads rows, images or texts, and the data of this recipe are {encoder.kind}"
    )


def classes_of(task: str, encoder: Encoder) -> tuple[str, ...]:
    """Return the names of the classes.

    Raises:
        RecipeError: there are none.
    """
    if not encoder.class_names:
        raise RecipeError(
            f"task.name = {task}: needs a class for each sample, and the data of this recipe have none; for targets "
            "that are numbers take task: {name: regression}"
        )
    return encoder.class_names


def targets_of(task: str, batch: Batch) -> Tensor:
    """Return the targets of a batch.

    Raises:
        RecipeError: there are none.
    """
    if "targets" not in batch:
        raise RecipeError(f"task.name = {task}: needs a target for each sample, and the data of this recipe have none")
    return batch["targets"]


def outputs_of(model: nn.Module, batch: Batch, outputs: int) -> Tensor:
    """Return what the model gives for each sample (B, outputs), as float32, whatever it computes in.

    Raises:
        RecipeError: it gives something else, such as logits for each token.
    """
    found = model(batch["inputs"])
    if not isinstance(found, Tensor) or found.shape != (len(batch["inputs"]), outputs):
        given = f"numbers of shape {tuple(found.shape)}" if isinstance(found, Tensor) else "several things"
        raise RecipeError(
            f"the model of this recipe ({type(model).__name__}) gives {given} for a batch of "
            f"{len(batch['inputs'])} samples, and the task needs {outputs} for each: take a model that "
            "classifies, such as mlp, cnn, bilstm"
        )
    return found.float()


def with_majority(data: PreparedData, part: str) -> References:
    """Return the references of a part of the data and, beside them, the accuracy on it of whoever always says the class
    that is most frequent in training."""
    known = data.references_of(part)
    measured: Dataset | None = getattr(data, part)
    if data.train.labels is None or measured is None or measured.labels is None or not len(measured):
        return known
    majority = int(np.bincount(data.train.labels).argmax())
    return with_reference(known, "accuracy", MAJORITY, float((measured.labels == majority).mean()))


def with_reference(references: References, metric: str, name: str, value: float) -> References:
    """Return references and one more."""
    return {**references, metric: {name: value, **references.get(metric, {})}}
