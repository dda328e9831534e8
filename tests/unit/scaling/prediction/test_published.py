"""The architectures and the traffic in `benchmarks/published.py`, by figures that others give for them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def published() -> ModuleType:
    path = Path(__file__).parents[4] / "benchmarks" / "published.py"
    spec = importlib.util.spec_from_file_location("published", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["published"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_layers_have_the_parameters_and_products_of_the_papers(published: ModuleType) -> None:
    """The counts are torchvision's for the same models: parameters, and multiply-adds of an image in billions."""
    vgg, resnet = published.vgg16(), published.resnet101()
    assert sum(layer.parameters for layer in vgg) == 138_357_544
    assert sum(layer.parameters for layer in resnet) == 44_549_160
    assert sum(layer.work for layer in vgg) == pytest.approx(15.5e9, rel=0.01)
    assert sum(layer.work for layer in resnet) == pytest.approx(7.8e9, rel=0.06)


def test_vggs_large_layer_is_ready_early_in_backward(published: ModuleType) -> None:
    ready = {gradient.bytes: gradient.ready for gradient in published.gradients(published.vgg16())}
    largest = max(ready)
    assert largest == 4 * (25088 * 4096 + 4096)
    assert ready[largest] < 0.01


def test_predictions_are_in_the_order_of_what_was_measured(published: ModuleType) -> None:
    vgg, resnet = published.vgg16(), published.resnet101()
    assert published.horovod(resnet, 129, 512) > published.horovod(vgg, 154, 128) > published.horovod(vgg, 154, 512)
    assert 0.9 < published.torchtitan() <= 1.0


def test_fsdp_waits_for_eight_bytes_a_parameter_where_nothing_hides_them(published: ModuleType) -> None:
    """2 to gather for forward, 2 for backward but for the last of 32 units, which stays, and 4 to scatter gradients."""
    rate = 400e9 / 8 * 0.95
    volume = 8.03e9 * 127 / 128 * (2 + 2 * 31 / 32 + 4)
    messages = (32 + 31 + 32) * 127 * 5e-6
    assert published.fsdp_step(1e-9, 128) == pytest.approx(volume / rate + messages, rel=1e-3)
    assert published.fsdp_step(1000.0, 128) == pytest.approx(1000.0, rel=1e-3)
