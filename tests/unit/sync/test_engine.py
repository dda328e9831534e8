from __future__ import annotations

import pytest

from hvdtrain.sync._config import EngineConfig
from hvdtrain.sync._engine import knobs
from hvdtrain.sync.allreduce import Config


def chosen(
    config: EngineConfig, origins=None, environment=None, on_gpu=False, deterministic=False
) -> dict[str, tuple[str, str]]:
    found = knobs(
        config, origins=origins or {}, environment=environment or {}, on_gpu=on_gpu, deterministic=deterministic
    )
    return {name: (knob.value, knob.source) for name, knob in found.items()}


def test_auto_is_what_suits_the_device() -> None:
    on_cpu, on_gpu = chosen(Config()), chosen(Config(), on_gpu=True)
    assert on_cpu["HOROVOD_CYCLE_TIME"] == ("10", "auto")
    assert on_gpu["HOROVOD_CYCLE_TIME"] == ("1", "auto")


@pytest.mark.parametrize(
    ("origin", "environment", "expected"),
    [
        ("override", {"HOROVOD_CYCLE_TIME": "9"}, ("3.5", "command line")),
        ("recipe", {"HOROVOD_CYCLE_TIME": "9"}, ("9", "environment")),
        ("recipe", {}, ("3.5", "recipe")),
    ],
)
def test_the_command_line_beats_the_environment_and_that_the_recipe(origin, environment, expected) -> None:
    found = chosen(Config(cycle_time_ms=3.5), {"sync.cycle_time_ms": origin}, environment)
    assert found["HOROVOD_CYCLE_TIME"] == expected


def test_open_mpi_yields_on_a_cpu_unless_the_user_says_otherwise() -> None:
    variable = "OMPI_MCA_mpi_yield_when_idle"
    assert chosen(Config())[variable] == ("1", "auto")
    assert chosen(Config(), environment={variable: "0"})[variable] == ("0", "environment")
    assert variable not in chosen(Config(), on_gpu=True)


def test_megabytes_become_bytes() -> None:
    assert chosen(Config(fusion_threshold_mb=1.5))["HOROVOD_FUSION_THRESHOLD"][0] == str(3 * 2**19)


def test_in_deterministic_runs_the_engine_does_not_fuse_whatever_else_is_said() -> None:
    config, said = EngineConfig(name="another"), {"HOROVOD_FUSION_THRESHOLD": "5"}
    found = chosen(config, environment=said, deterministic=True)
    assert found["HOROVOD_FUSION_THRESHOLD"] == ("0", "train.deterministic")
    # What fills its buckets itself fills them alike in every run.
    assert chosen(Config(), environment=said, deterministic=True)["HOROVOD_FUSION_THRESHOLD"] == ("5", "environment")


def test_where_collectives_follow_one_another_the_cycle_is_as_much_shorter() -> None:
    class Twice(EngineConfig):
        rounds = 2

    assert float(chosen(Twice(name="twice"))["HOROVOD_CYCLE_TIME"][0]) == (
        float(chosen(EngineConfig(name="once"))["HOROVOD_CYCLE_TIME"][0]) / 2
    )
