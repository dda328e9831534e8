"""The simulated step against a clock that ticks, against what must be at its limits, and against buffers by hand."""

from __future__ import annotations

import random

import pytest

from hvdtrain.scaling.prediction.overlap import (
    NO_CONTEST,
    Cores,
    Engine,
    Gradient,
    average,
    grouped,
    pack,
    simulate,
)

TICK = 2e-5


def ticking(gradients, backward, engine, cost, negotiation, cores, phase):
    """The same step, moment by moment: no events, no jumps. Returns the end of backward and the last result."""
    compute, work = cores.rates()
    now = done = todo = 0.0
    wake, queue, busy, ended, last = phase * engine.cycle, list(gradients), False, None, 0.0
    while queue or busy or ended is None:
        if not busy and now >= wake and queue:
            ready = [g for g in queue if g.ready <= done + 1e-9]
            began = now
            if ready:
                queue = [g for g in queue if g not in ready]
                todo = negotiation + sum(
                    cost(sum(g.bytes for g in b), len(b)) for b in pack(ready, engine.fusion_bytes)
                )
                busy = True
            else:
                wake = now + engine.cycle
        if busy:
            todo -= TICK * (work if ended is None else 1.0)
        if ended is None:
            done += TICK * (compute if busy else 1.0)
        now += TICK
        if ended is None and done >= backward:
            ended = now
            done = backward
        if busy and todo <= 0:
            busy, last, wake = False, now, max(began + engine.cycle, now)
    return ended, last


def network(rng: random.Random, count: int, backward: float) -> list[Gradient]:
    times = [*sorted(rng.uniform(0.01, 1.0) * backward for _ in range(count - 1)), backward]
    return [Gradient(rng.choice([4_000, 300_000, 2_000_000]) + i, t) for i, t in enumerate(times)]


@pytest.mark.parametrize("seed", range(24))
def test_events_are_what_a_ticking_clock_sees(seed: int) -> None:
    rng = random.Random(seed)
    backward = rng.uniform(0.02, 0.2)
    gradients = network(rng, rng.randint(1, 25), backward)
    engine = Engine(cycle=rng.choice([1e-3, 5e-3, 20e-3]), fusion_bytes=rng.choice([0, 1e6, 32e6]))
    cores = rng.choice(
        [NO_CONTEST, Cores(1.0, 1.0, 0.3), Cores(1.0, 1.0, 1.4), Cores(1.5, 1.0, 1.0), Cores(0.5, 1, 0.8)]
    )
    latency, byte = rng.choice([1e-4, 2e-3]), rng.choice([1e-9, 2e-8])
    arguments = (gradients, backward, engine, lambda size, tensors: latency + size * byte)
    for phase in (0.1, 0.6):
        found = simulate(*arguments, negotiation=5e-4, cores=cores, phase=phase)
        ended, last = ticking(*arguments, 5e-4, cores, phase)
        # A tensor ready within a tick of a cycle may be seen a cycle sooner or later by the clock that ticks.
        assert found.backward == pytest.approx(ended, rel=0.03, abs=2e-3)
        assert found.last == pytest.approx(last, rel=0.03, abs=2e-3)


LAYERS = [Gradient(1_000_000, 0.02 * (i + 1)) for i in range(10)]
BACKWARD = 0.2


def spent(engine: Engine, seconds: float, **more: object) -> float:
    return average(LAYERS, BACKWARD, engine, lambda size, tensors: seconds, **more).exposed  # type: ignore[arg-type]


def test_communication_without_cost_exposes_half_a_cycle() -> None:
    """The last gradient waits for the next cycle, on average for half of one."""
    assert spent(Engine(0.01, 32e6), 0.0) == pytest.approx(0.005, rel=0.05)
    assert spent(Engine(1e-6, 32e6), 0.0) == pytest.approx(0.0, abs=2e-6)


def test_gradients_that_are_all_ready_at_the_end_are_reduced_after_it() -> None:
    gradients = [Gradient(1_000_000, BACKWARD) for _ in range(10)]
    found = simulate(gradients, BACKWARD, Engine(1e-6, 32e6), lambda size, tensors: size * 1e-9)
    assert found.exposed == pytest.approx(10e6 * 1e-9, abs=2e-6)
    assert found.buffers == 1


def test_bandwidth_bound_work_takes_its_time_whatever_overlaps() -> None:
    """Ten buffers of 0.1 s each begin when the first gradient is there and never pause."""
    found = simulate(LAYERS, BACKWARD, Engine(1e-6, 0), lambda size, tensors: 0.1)
    assert found.last == pytest.approx(0.02 + 1.0, abs=1e-4)
    assert found.exposed == pytest.approx(0.82, abs=1e-4)


def test_without_fusion_each_tensor_pays_its_latency() -> None:
    gradients = [Gradient(1_000, BACKWARD) for _ in range(40)]
    alone, fused = (
        simulate(gradients, BACKWARD, Engine(1e-6, threshold), lambda size, tensors: 1e-3).exposed
        for threshold in (0, 1e6)
    )
    assert alone == pytest.approx(0.040, abs=1e-5)
    assert fused == pytest.approx(0.001, abs=1e-5)


def test_slower_links_never_expose_less() -> None:
    waits = [
        average(LAYERS, BACKWARD, Engine(5e-3, 32e6), lambda size, tensors, b=b: 1e-4 + size * b).exposed
        for b in (0.0, 1e-9, 3e-9, 1e-8, 3e-8, 1e-7)
    ]
    assert waits == sorted(waits)
    assert waits[-1] > 10 * waits[0]


def test_the_next_cycle_waits_for_the_work_of_this_one() -> None:
    """Both tensors are ready at 0.02; the second cycle would begin at 0.03, amid the first one's work to 0.06."""
    gradients = [Gradient(10, 0.02), Gradient(10, 0.025)]
    found = simulate(gradients, 0.1, Engine(0.01, 1e6), lambda size, tensors: 0.04, phase=0.0)
    assert (found.cycles, found.last) == (2, pytest.approx(0.1))


def test_an_engine_on_a_busy_core_delays_backward_by_what_it_takes() -> None:
    """One core, one thread; the engine keeps 0.4 of a core busy for 0.05 s: backward gets 0.02 s less."""
    found = simulate([Gradient(10, 0.01)], 0.1, Engine(0.01, 1e6), lambda *_: 0.05, cores=Cores(1.0, 1.0, 0.4))
    assert found.backward == pytest.approx(0.12)
    assert found.last == pytest.approx(0.06)  # the engine itself is not slowed: its fair share is half a core


def test_an_engine_that_wants_more_than_its_share_is_slowed_until_backward_ends() -> None:
    cores = Cores(1.0, 1.0, 1.0)
    assert cores.rates() == (0.5, 0.5)
    found = simulate([Gradient(10, 0.0)], 0.1, Engine(0.01, 1e6), lambda *_: 0.05, cores=cores)
    assert found.backward == pytest.approx(0.15)  # 0.1 s of both at half speed, and 0.05 s alone
    assert found.last == pytest.approx(0.1)


def test_spare_cores_are_the_engines() -> None:
    assert Cores(4.0, 2.0, 1.5).rates() == (1.0, 1.0)
    assert Cores(8.0, 2.0, 3.5).rates() == (1.0, 1.0)
    assert Cores(2.5, 2.0, 1.0).rates() == (pytest.approx((2.5 - 2.5 / 3) / 2), pytest.approx(2.5 / 3))
    assert NO_CONTEST.rates() == (1.0, 1.0)


def sizes(buffers: list[list[Gradient]]) -> list[list[int]]:
    return [[g.bytes for g in one] for one in buffers]


def test_buffers_take_tensors_in_order_up_to_the_threshold() -> None:
    ready = [Gradient(size, 0.0) for size in (40, 50, 20, 200, 30, 30)]
    assert sizes(pack(ready, 100)) == [[40, 50], [20], [200], [30, 30]]
    assert sizes(pack(ready, 0)) == [[size] for size in (40, 50, 20, 200, 30, 30)]
    assert sizes(pack(ready, 10**6)) == [[40, 50, 20, 200, 30, 30]]


def test_a_tensor_of_another_type_is_passed_over_and_reduced_alone() -> None:
    ready = [Gradient(40, 0.0), Gradient(8, 0.0, "float64"), Gradient(50, 0.0)]
    assert sizes(pack(ready, 100)) == [[40, 50], [8]]
    # Past it the buffer could not look without exceeding the threshold.
    assert sizes(pack([Gradient(95, 0.0), Gradient(8, 0.0, "float64"), Gradient(2, 0.0)], 100)) == [[95], [8], [2]]


def test_a_group_is_ready_with_its_last_gradient() -> None:
    """Seven parameters in three groups: 3, 2 and 2 of them in the model's order, which is backward's reversed."""
    gradients = [Gradient(i, float(i)) for i in range(1, 8)]
    assert [(g.bytes, g.ready) for g in sorted(grouped(gradients, 3), key=lambda g: g.bytes)] == [
        (1, 2.0), (2, 2.0), (3, 4.0), (4, 4.0), (5, 7.0), (6, 7.0), (7, 7.0),
    ]  # fmt: skip


def test_groups_expose_more_than_arrival_does() -> None:
    cost = lambda size, tensors: size * 4e-8  # noqa: E731
    by_arrival = average(LAYERS, BACKWARD, Engine(1e-3, 32e6), cost).exposed
    assert average(LAYERS, BACKWARD, Engine(1e-3, 32e6, groups=1), cost).exposed > by_arrival
