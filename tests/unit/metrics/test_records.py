from __future__ import annotations

import json
import math

import pytest

from hvdtrain.metrics import lines, records
from hvdtrain.metrics.records import EndRecord, EvalRecord, SampleRecord, StepRecord

STEP = StepRecord(
    step=10,
    loss=2.5,
    lr=1e-3,
    grad_norm=0.7,
    samples=320,
    tokens=40960,
    samples_per_second=10.0,
    tokens_per_second=1280.0,
    world_size=2,
    seconds={"step": 3.2, "forward": 1.0},
)


@pytest.mark.parametrize(
    "record",
    [
        STEP,
        EvalRecord(step=3, metrics={"loss": math.inf}, samples=4, seconds=0.1),
        SampleRecord(step=1, prompt="nan", text="inf"),
        EndRecord(step=2, reason="finished", seconds={"step": 1.0}),
    ],
    ids=lambda record: record.event,
)
def test_a_record_survives_its_line(record: records.Record) -> None:
    assert lines.loads(lines.dumps(record)) == record


def test_not_a_number_is_written_as_a_string_that_every_json_reader_takes() -> None:
    line = lines.dumps(StepRecord(**{**STEP.__dict__, "loss": math.nan}))
    assert json.loads(line)["loss"] == "nan"
    assert math.isnan(lines.loads(line).loss)


def test_the_event_names_the_type_and_comes_first() -> None:
    assert lines.dumps(STEP).startswith('{"event": "step"')


def test_keys_of_a_newer_version_are_ignored() -> None:
    assert lines.from_dict(lines.to_dict(STEP) | {"new": 1}) == STEP


@pytest.mark.parametrize("line", ["{}", "[]", "3", '{"event": "unknown"}', '{"event": "step"}', "{"])
def test_what_is_no_record_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        lines.loads(line)
