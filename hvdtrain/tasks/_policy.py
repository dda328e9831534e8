"""What a policy says of observations: the same numbers where it acts and where it learns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hvdtrain.errors import RecipeError


def policy_of(model: nn.Module, observations: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of the actions (B, A) and the values (B,) of observations (B, F).

    They are computed in float32 even under autocast: the ratio of an action's probability to the one that it was drawn
    with would else begin at the rounding of bf16, which is of the size of what the loss clips.

    Raises:
        RecipeError: the model gives something else.
    """
    with torch.autocast(observations.device.type, enabled=False):
        found = model(observations)
    if not isinstance(found, tuple) or len(found) != 2:
        raise RecipeError(
            f"task.name = ppo: needs a model that gives a policy and a value, which that of this recipe "
            f"({type(model).__name__}) does not; take model: {{name: actor_critic}}"
        )
    logits, values = found
    return logits.float(), values.float()
