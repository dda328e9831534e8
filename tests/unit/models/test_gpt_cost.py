"""What the GPT says that it costs, held against formulas by hand and against PyTorch's own counter."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hvdtrain.models._gpt import GPT
from hvdtrain.models._spec import DataSpec
from hvdtrain.models.gpt import Config, build

V, T, B = 96, 32, 2


def make(**values: object) -> GPT:
    return build(Config(**{"d_model": 64, "n_layers": 3, "n_heads": 4, "ffn_dim": 160} | values), DataSpec(V, T))


def by_hand(tied: bool, kv_heads: int) -> tuple[int, int]:
    """All parameters, and those in matrix products, of d_model 64, 3 layers, 4 heads of width 16, ffn_dim 160."""
    qkv = 64 * 64 + 2 * 64 * (kv_heads * 16)
    matrices = 3 * (qkv + 64 * 64 + 64 * 160 * 3) + V * 64
    norms = (2 * 3 + 1) * 64
    return matrices + norms + (0 if tied else V * 64), matrices


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_parameters_equal_the_hand_formula(tied: bool, kv_heads: int) -> None:
    model = make(tie_embeddings=tied, n_kv_heads=kv_heads)
    assert (model.num_parameters(), model.num_matmul_parameters()) == by_hand(tied, kv_heads)


def test_flops_equal_the_definition() -> None:
    model = make(n_kv_heads=2)
    _, matrices = by_hand(True, 2)
    assert model.flops_per_token(T) == 6 * matrices + 12 * 3 * 4 * 16 * T


def counted(model: GPT, backend: SDPBackend, *, backward: bool) -> int:
    inputs = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(backend):
        loss = model(inputs).sum()
        if backward:
            loss.backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("values", [{}, {"n_kv_heads": 2}, {"tie_embeddings": False}])
def test_flops_equal_pytorchs_counter_where_it_sees_each_product(values: dict[str, object]) -> None:
    """With attention as plain products, the counter sees each: also the upper triangle, as the definition says.

    Of fused attention it sees other things: nothing at all of the CPU's kernel (torch 2.13), and of the GPU's also the
    scores that its backward pass computes again, which are no work of the model's.
    """
    model = make(**values)
    assert counted(model, SDPBackend.MATH, backward=True) == model.flops_per_token(T) * B * T
    assert counted(model, SDPBackend.MATH, backward=False) == model.flops_per_token(T) * B * T / 3
