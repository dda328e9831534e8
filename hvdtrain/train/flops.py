"""What a model costs: floating point operations of a forward and backward pass."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from hvdtrain.models._texts import valid_tokens

if TYPE_CHECKING:
    from hvdtrain.data.prepared import Dataset
    from hvdtrain.tasks._task import Batch, Task

_TEXTS = 32
"""Texts whose mean length stands for that of all."""
_OTHERS = 2
"""Samples of one size that operations are counted on."""
_IGNORED = -100


def first_samples(task: Task, dataset: Dataset, count: int) -> Batch:
    """Return a micro batch of the first samples, as the loader would deal it."""
    batch = dataset.batch(np.arange(count))
    return batch | ({"number": torch.arange(count)} if task.numbered else {})


def flops_per_target(model: torch.nn.Module, task: Task, dataset: Dataset, device: torch.device) -> float:
    """Return the FLOPs of a forward and backward pass for one target, all phases together.

    A model that has a formula, `flops_per_token(seq_len)`, is asked for it; of another PyTorch counts those of matrix
    products and convolutions. Where samples are texts of any length, both are the mean of the first 32 texts, without
    padding. Gradients and statistics are as they were before.
    """
    formula = getattr(model, "flops_per_token", None)
    texts = bool(task.spec.vocab_size)
    if formula is not None and (not texts or task.unit == "tokens"):
        return float(formula(task.spec.max_seq_len))
    batch = first_samples(task, dataset, min(_TEXTS if texts else _OTHERS, len(dataset)))
    samples = _without_padding(batch, task.spec.pad_id) if texts else [batch]
    if formula is not None:
        return float(np.mean([formula(sample["inputs"].shape[1]) for sample in samples]))
    counted = sum(_counted(model, task, {name: t.to(device) for name, t in sample.items()}) for sample in samples)
    return counted / max(1, sum(task.count(sample) for sample in samples))


def _without_padding(batch: Batch, pad_id: int) -> list[Batch]:
    """Return the samples of a batch of texts, each a batch of its own as long as its own text."""
    samples = []
    for row in range(len(next(iter(batch.values())))):
        sample = {name: tensor[row : row + 1] for name, tensor in batch.items()}
        texts = {name: ids for name, ids in sample.items() if ids.ndim == 2}
        ends = {name: int(valid_tokens(ids, pad_id).sum()) for name, ids in texts.items()}
        if "targets" in texts:  # one for each token of the inputs
            ends["inputs"] = ends["targets"] = int((texts["targets"] != _IGNORED).sum())
        samples.append({name: ids[:, : ends[name]] if name in ends else ids for name, ids in sample.items()})
    return samples


def _counted(model: torch.nn.Module, task: Task, batch: Batch) -> int:
    """Return what PyTorch counts for a batch; attention is made of matrix products, because it does not know that of
    its CPU kernel."""
    was_training = model.training
    model.eval()
    counter = _Counter()
    with counter, sdpa_kernel(SDPBackend.MATH):
        for phase in task.phases:
            trained = [p for name, p in model.named_parameters() if p.requires_grad and phase.trains(name)]
            torch.autograd.grad(phase.loss(model, batch), trained, allow_unused=True)
    model.train(was_training)
    return counter.total


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts as `torch.utils.flop_counter.FlopCounterMode` does, by the same formulas."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:  # in inference mode operations come here that are made of others
                made = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if made is NotImplemented else made
        result = func(*args, **kwargs)
        self.total += formula(*args, **kwargs, out_val=result)
        return result


# torch wraps this method of any mode for its compiler, see hvdtrain/eager.py.
_Counter.__torch_dispatch__ = inspect.unwrap(_Counter.__torch_dispatch__)  # type: ignore[method-assign]
