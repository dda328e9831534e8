"""Predicted memory against what torch really allocates."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor

from hvdtrain.data.synthetic import synthetic
from hvdtrain.models._spec import DataSpec
from hvdtrain.recipe import Recipe, load
from hvdtrain.recipe.optimizers import AdamWConfig, SGDConfig
from hvdtrain.scaling.prediction.memory import Shapes, memory, optimizer_bytes
from hvdtrain.scaling.worker import shapes as shaping
from hvdtrain.tasks._task import Batch, Phase
from hvdtrain.tasks._task import build as build_task
from hvdtrain.train import optimizers
from hvdtrain.train.assemble import build_model
from hvdtrain.train.precision import choose

SMALL = [
    "model.d_model=64",
    "model.n_layers=2",
    "model.n_heads=2",
    "data.max_seq_len=32",
    "tokenizer.vocab_size=512",
    "train.micro_batch_size=4",
    "train.global_batch_size=null",
]


def recipe(*changes: str) -> Recipe:
    return load("gpt-shakespeare", [*SMALL, *changes]).recipe


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("changes", [(), ("model.dropout=0.1", "model.tie_embeddings=false"), ("model.n_kv_heads=1",)])
def test_activations_from_shapes_are_what_autograd_really_keeps(precision: str, changes: tuple[str, ...]) -> None:
    asked = recipe(f"train.precision={precision}", *changes)
    data = synthetic(asked.data, asked.tokenizer, asked.seed)
    model = build_model(asked, DataSpec(data.encoder.vocab_size, data.train.max_seq_len), torch.device("cpu"))
    number_format = choose(precision, torch.device("cpu"))
    real = shaping.saved_bytes(
        model, build_task(asked.task, data.encoder), data.train.batch(np.arange(4)), number_format
    )
    found = shaping.shapes(asked)
    assert found.activations == real > 0
    assert found.precision == precision
    assert found.notes == ()


def test_what_autograd_keeps_is_counted_by_hand_on_a_small_network() -> None:
    """relu(x W) . v: relu keeps its output, the product with v keeps the same tensor again, and v; x, W are not new."""
    model, inputs = torch.nn.Linear(3, 5, bias=False), torch.ones(4, 3)
    v = torch.ones(5)

    def loss(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        return (module(batch["inputs"]).relu() * v).sum()

    task = SimpleNamespace(phases=(Phase("one", lambda name: True, loss),))
    number_format = choose("fp32", torch.device("cpu"))
    kept = shaping.saved_bytes(model, task, {"inputs": inputs}, number_format)  # type: ignore[arg-type]
    assert kept == 4 * 5 * 4 + 5 * 4


def test_parameters_are_counted_once_and_buffers_with_them() -> None:
    asked = recipe()
    data = synthetic(asked.data, asked.tokenizer, asked.seed)
    model = build_model(asked, DataSpec(data.encoder.vocab_size, data.train.max_seq_len), torch.device("cpu"))
    found = shaping.shapes(asked)
    stored = [*model.parameters(), *model.buffers()]
    assert sum(size for _, size in found.parameters) == sum(t.numel() * t.element_size() for t in stored)
    assert sum(size for _, size in found.trained) == 4 * sum(p.numel() for p in model.parameters())
    assert found.flops == model.flops_per_token(32) * 4 * 32  # type: ignore[operator]


def test_activations_grow_with_the_micro_batch_alone() -> None:
    """Under autocast they are no multiple of it: the weights' copies in bf16 are kept too, once."""
    few, more, most = (shaping.shapes(recipe("train.precision=bf16", f"train.micro_batch_size={n}")) for n in (2, 4, 6))
    assert 0 < few.activations < more.activations
    assert most.activations - more.activations == pytest.approx(more.activations - few.activations, rel=0.01)
    assert most.parameters == few.parameters


def test_a_model_that_has_no_shapes_is_run_on_one_sample_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = shaping.shapes(recipe()).activations
    build = shaping._build

    monkeypatch.setattr(shaping, "_build", lambda *a: model_that_looks_at_values(build(*a)))
    found = shaping.shapes(recipe())
    assert found.activations == pytest.approx(expected, rel=0.02)
    assert "from those of one sample and of two" in found.notes[0]


def model_that_looks_at_values(model: torch.nn.Module) -> torch.nn.Module:
    model.register_forward_pre_hook(lambda module, inputs: print(float(inputs[0].sum())))
    return model


@pytest.mark.parametrize(
    "config",
    [
        AdamWConfig(lr=1e-3),
        AdamWConfig(lr=1e-3, fused=False),
        SGDConfig(lr=0.1),
        SGDConfig(lr=0.1, momentum=0.9),
        SGDConfig(lr=0.1, momentum=0.9, nesterov=True),
    ],
    ids=str,
)
def test_the_optimizers_state_is_what_torch_keeps(config: AdamWConfig | SGDConfig) -> None:
    parameters = [torch.nn.Parameter(torch.ones(7, 5)), torch.nn.Parameter(torch.ones(11))]
    built = optimizers.build(config, parameters)
    for p in parameters:
        p.grad = torch.ones_like(p)
    built.step()
    states = built.state_dict()["state"].values()
    held = sum(t.numel() * t.element_size() for s in states for t in s.values() if isinstance(t, torch.Tensor))
    known = tuple((str(i), p.numel() * 4) for i, p in enumerate(parameters))
    assert optimizer_bytes(Shapes(known, known, 0, 0.0, 0, 0, "fp32"), config.model_dump()) == held


def test_the_parts_and_their_sum() -> None:
    known = (("w", 4000),)
    found = Shapes(known, known, 10_000, 1.0, 8, 1, "fp32")
    alone = memory(found, {"name": "adamw"}, 2**25, 1, "none")
    assert (alone.parameters, alone.gradients, alone.optimizer, alone.communication) == (4000, 4000, 8004, 0)
    assert alone.total == 4000 + 4000 + 8004 + 10_000
    plain, halved = (memory(found, {"name": "adamw"}, 2**25, 2, how).communication for how in ("none", "fp16"))
    assert plain == 2**25 + 2 * 2**20
    assert halved - plain == 2000


def test_nothing_of_a_large_model_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.3 billion parameters would be 5 GB, and much more with what autograd keeps."""
    build, built = shaping._build, []
    monkeypatch.setattr(shaping, "_build", lambda *what: built.append(build(*what)) or built[-1])
    large = load(
        "gpt-shakespeare",
        [
            "model.d_model=2048",
            "model.n_layers=24",
            "model.n_heads=16",
            "train.micro_batch_size=8",
            "train.global_batch_size=null",
        ],
    ).recipe
    found = shaping.shapes(large)
    assert sum(size for _, size in found.trained) > 4.5e9
    assert all(isinstance(parameter, FakeTensor) for model in built for parameter in model.parameters())


def test_the_engines_knobs_follow_device_and_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOROVOD_CYCLE_TIME", raising=False)
    monkeypatch.delenv("HOROVOD_FUSION_THRESHOLD", raising=False)
    loaded = load("gpt-shakespeare", ["sync.fusion_threshold_mb=7"])
    assert shaping.engine_knobs(loaded, on_gpu=False)["HOROVOD_CYCLE_TIME"] == "10 (auto)"
    assert shaping.engine_knobs(loaded, on_gpu=True)["HOROVOD_CYCLE_TIME"] == "1 (auto)"
    assert shaping.engine_knobs(loaded, on_gpu=True)["HOROVOD_FUSION_THRESHOLD"].split()[0] == str(7 * 2**20)
