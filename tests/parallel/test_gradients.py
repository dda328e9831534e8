"""The gradient of n workers is that of the mean over all valid targets of the global batch, for every way to
synchronise it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

# float32 sums in another order differ by a few units in the last place of the largest term; four updates stay below
# 1e-6.
EXACT = 1e-6
# float16 on the wire keeps 11 bits: 2^-11 relative, of gradients below 0.5, times a learning rate of 0.05.
HALF = 1e-3


SETTINGS = [
    ({"name": "allreduce"}, EXACT),
    ({"name": "allreduce", "op": "sum"}, EXACT),
    ({"name": "allreduce", "groups": 99}, EXACT),
    ({"name": "allreduce", "compression": "fp16"}, HALF),
    ({"name": "allreduce", "gradient_predivide_factor": 4.0, "compression": "fp16"}, HALF),
    ({"name": "allreduce", "gradient_predivide_factor": 3.0, "op": "sum"}, EXACT),
    ({"name": "sharded"}, EXACT),
    # Nothing is smaller compressed at full rank, or with all entries, and the model's tensors are small: all travel as
    # they are. The compressed path itself is held to exactness in test_compression.py.
    ({"name": "powersgd", "rank": 99}, EXACT),
    ({"name": "powersgd", "rank": 1, "start_step": 4}, EXACT),
    ({"name": "topk", "density": 1.0}, EXACT),
]
CASES = {"-".join(map(str, sync.values())): {"sync": sync, "tolerance": tolerance} for sync, tolerance in SETTINGS}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("workers", [2, 3])
def test_updates_equal_plain_torch_on_the_whole_batch(launches, workers_folder: Path, workers: int, case: str) -> None:
    launches.hold(case, CASES, workers, workers_folder / "gradients.py")
