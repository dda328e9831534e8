"""torch's optimizers without its compiler, which each of them imports otherwise."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar, cast

import torch
from torch.optim import Optimizer

T = TypeVar("T", bound=Optimizer)


def eager(optimizer: type[T]) -> type[T]:
    """Return a class that does what `optimizer` does, where nothing is compiled and no update is differentiated.

    torch 2 wraps these methods (`torch._disable_dynamo`, `_use_grad_for_differentiable` in torch/optim/optimizer.py) so
    that `torch.compile` leaves them alone, for which the first call imports all of `torch._dynamo`, sympy included:
    about a second and 60 MB of each worker.
    """
    unwrapped = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(optimizer, name)) for name in unwrapped}
    methods["step"] = torch.no_grad()(inspect.unwrap(optimizer.step))
    return cast("type[T]", type(optimizer.__name__, (optimizer,), methods))


AdamW = eager(torch.optim.AdamW)
SGD = eager(torch.optim.SGD)
