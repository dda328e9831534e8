"""The peak that model FLOPs are held against."""

from __future__ import annotations

import re
import time

import torch

# Dense peaks without sparsity, FLOP/s, from the vendors' data sheets, of the SXM form where there are several.
_DATA_SHEETS = {
    "H100": {"bf16": 989e12, "fp16": 989e12, "fp32": 67e12},
    "H200": {"bf16": 989e12, "fp16": 989e12, "fp32": 67e12},
    "A100": {"bf16": 312e12, "fp16": 312e12, "fp32": 19.5e12},
    "L40S": {"bf16": 362e12, "fp16": 362e12, "fp32": 91.6e12},
    "V100": {"fp16": 125e12, "fp32": 15.7e12},
    "T4": {"fp16": 65e12, "fp32": 8.1e12},
}


def peak_flops(device: torch.device, precision: str) -> tuple[float, str]:
    """Return the FLOP/s that this worker's device can do in a precision, and how that is known.

    A GPU that has a data sheet here is taken at its word; everything else is measured by a matrix product.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for model, peaks in _DATA_SHEETS.items():
            if re.search(rf"\b{model}\b", name) and not re.search(r"PCIe|NVL", name) and precision in peaks:
                return peaks[precision], f"data sheet of {model}, {precision}"
    return _matmul_flops(device, precision), f"measured {precision} matrix product"


def _matmul_flops(device: torch.device, precision: str, seconds: float = 0.3) -> float:
    """Return the best rate of repeated products of square matrices; on a GPU large ones, so that latency does not
    count.
    """
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    size = 8192 if device.type == "cuda" else 1024
    left = torch.ones(size, size, dtype=dtype, device=device)
    right, best, deadline = left.clone(), float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        start = time.perf_counter()
        (left @ right)[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
