"""Checksums of tensors, and what is said of workers whose tensors differ."""

from __future__ import annotations

import pytest
import torch

from hvdtrain.errors import DivergedError
from hvdtrain.train import replicas
from hvdtrain.world import Solo


class Canned(Solo):
    """Workers of which the others have these tensors."""

    def __init__(self, *others: dict[str, torch.Tensor]) -> None:
        self.others = others

    def gather(self, value):
        return [value, *([replicas.checksum(tensor) for tensor in one.values()] for one in self.others)]


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = {name: torch.randn(5, 3, generator=generator) for name in ("a", "b", "c")}
    return drawn | {"half": drawn["a"].bfloat16(), "double": drawn["a"].double()}


@pytest.mark.parametrize("name", ["a", "half", "double"])
@pytest.mark.parametrize("bit", [0, 3, 15])
def test_any_bit_of_any_type_changes_the_checksum(name: str, bit: int) -> None:
    changed = tensors()[name]
    before = replicas.checksum(changed)
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[changed.element_size()]
    flipped = torch.tensor(1).bitwise_left_shift(bit).to(integers)
    changed.view(integers)[4, 2] ^= flipped
    assert replicas.checksum(changed) != before


def test_a_view_that_is_not_contiguous_has_the_checksum_of_its_values() -> None:
    values = tensors()["a"]
    assert replicas.checksum(values.t()) == replicas.checksum(values.t().clone())


def test_the_first_tensor_that_differs_and_the_workers_are_named() -> None:
    other = tensors()
    other["b"][0, 0] += 1
    other["c"][0, 0] += 1
    with pytest.raises(DivergedError) as caught:
        replicas.check(tensors(), Canned(tensors(), other, other), 4, step=7)
    assert str(caught.value) == (
        "step 7: the workers' models are no longer alike: b of worker 2, 3 is not worker 0's (nor are 1 other tensors)"
        "; look at that worker's host (its memory, its versions), and run the same command again to resume"
    )
    assert caught.value.shared


def test_workers_that_only_serve_are_not_asked() -> None:
    other = tensors()
    other["b"][0, 0] += 1
    replicas.check(tensors(), Canned(tensors(), other), 2, step=7)
    with pytest.raises(DivergedError, match="b of worker 2 "):
        replicas.check(tensors(), Canned(tensors(), other), 3, step=7)
    replicas.check(tensors(), Canned(other), 1, step=7)
