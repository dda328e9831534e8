from __future__ import annotations

import pytest
import torch

from hvdtrain.train.schedules import Schedule, scale_to_batch


def rates(scheduler_of, steps: int, lr: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = scheduler_of(optimizer)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_cosine_is_torchs_cosine_annealing() -> None:
    schedule = Schedule("cosine", peak=0.3, min_lr=0.01, warmup_steps=0, total_steps=40)
    reference = rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=40, eta_min=0.01), 40, 0.3)
    assert [schedule(step) for step in range(40)] == pytest.approx(reference)


def test_linear_is_torchs_linear_decay() -> None:
    schedule = Schedule("linear", peak=0.5, min_lr=0.0, warmup_steps=0, total_steps=20)
    reference = rates(lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=20), 20, 0.5)
    assert [schedule(step) for step in range(20)] == pytest.approx(reference)


@pytest.mark.parametrize("shape", ["cosine", "linear", "constant"])
def test_warm_up_rises_in_equal_steps_to_the_peak_and_the_end_is_the_minimum(shape: str) -> None:
    schedule = Schedule(shape, peak=1.0, min_lr=0.1, warmup_steps=4, total_steps=10)
    assert [schedule(step) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert schedule(10) == pytest.approx(1.0 if shape == "constant" else 0.1)


@pytest.mark.parametrize(("rule", "expected"), [("none", 0.1), ("linear", 0.4), ("sqrt", 0.2)])
def test_the_rate_follows_the_batch_by_the_rule(rule: str, expected: float) -> None:
    lr, sentence = scale_to_batch(0.1, rule, 64, 256)
    assert lr == pytest.approx(expected)
    assert rule in sentence or rule == "none"
