"""The number format of the forward and backward pass: what the device does fast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch

from hvdtrain.errors import SetupError


@dataclass
class Precision:
    """A format, why it was chosen, what computing in it needs. Parameters and optimizer state are always float32."""

    name: str
    reason: str
    device: torch.device
    scaler: torch.amp.GradScaler | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.name == "fp16":
            self.scaler = torch.amp.GradScaler(self.device.type)

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16 if self.name == "bf16" else torch.float16)

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss to call backward on."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
        """Undo the scaling of the gradients, once they are synchronised."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def forget(self) -> None:
        """Forget the scale, and what was unscaled since the last update."""
        if self.scaler is not None:
            self.scaler = torch.amp.GradScaler(self.device.type)

    def updated(self) -> None:
        """Adapt the scale after an update."""
        if self.scaler is not None:
            self.scaler.update()


def choose(wanted: str, device: torch.device) -> Precision:
    """Resolve a recipe's precision for a device.

    Raises:
        SetupError: fp16 on a CPU, which has no fast float16 and no gradient scaling worth having.
    """
    if wanted == "fp16" and device.type == "cpu":
        raise SetupError("train.precision = fp16 needs a GPU; on a CPU use bf16, fp32 or auto")
    if wanted != "auto":
        return Precision(wanted, "asked for", device)
    name, reason = _fast(device)
    return Precision(name, reason, device)


def _fast(device: torch.device) -> tuple[str, str]:
    """A fixed rule and no measurement: a resumed run must choose what the first one chose."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        if torch.cuda.get_device_capability(device) >= (8, 0):
            return "bf16", f"{name} has bf16 tensor cores"
        return "fp16", f"{name} has fp16 but no bf16 tensor cores"
    for feature, name in _FAST_BF16.items():
        supported = getattr(torch.cpu, feature, None)
        if supported is not None and supported():
            return "bf16", f"the CPU has {name}"
    return "fp32", "the CPU multiplies bf16 no faster"


# Private to torch, which has no public name for them yet. Measured with avx512_bf16: a training step of a GPT of 5 M
# parameters takes 1 / 1.6 of its time in fp32.
_FAST_BF16 = {"_is_amx_tile_supported": "AMX", "_is_avx512_bf16_supported": "AVX512_BF16"}
