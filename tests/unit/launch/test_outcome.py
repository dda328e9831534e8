from __future__ import annotations

import pytest

from hvdtrain.errors import RunError, UserError
from hvdtrain.launch.outcome import Outcome
from hvdtrain.report.events import Beat, Line, WorkerError

GLOO_END = """Traceback (most recent call last):
  File "horovodrun", line 6, in <module>
    sys.exit(run_commandline())
             ^^^^^^^^^^^^^^^^^
RuntimeError: Horovod detected that one or more processes exited with non-zero status, thus causing [...] to do so was:
Process name: 1
Exit code: 3"""
RULE = "-" * 74
MPI_SIGNAL = f"{RULE}\nmpirun noticed that process rank 2 with PID 0 on node vm exited on signal 9 (Killed).\n{RULE}"
MPI_HINT = f"{RULE}\nThere are not enough slots available in the system to satisfy the 9 slots\n{RULE}"


def feed(outcome: Outcome, text: str, stream: str = "stderr") -> list[str]:
    return [shown for line in text.splitlines() for shown in outcome.add_line(Line(line, None, stream))]


def test_a_worker_that_ends_with_a_code_is_named_and_the_noise_is_not_shown() -> None:
    outcome = Outcome()
    assert (
        feed(outcome, "Process 1 exit with status code 3.\nTerminating remaining workers after failure", "stdout") == []
    )
    assert feed(outcome, GLOO_END) == []
    error = outcome.failure(1)
    assert isinstance(error, RunError)
    assert str(error) == "worker 1 ended with exit code 3; see its output above"


def test_the_first_to_end_is_the_cause_though_others_were_killed_after_it() -> None:
    outcome = Outcome()
    feed(outcome, "Process 1 exit with status code 1.\nProcess 0 exit with status code 137.", "stdout")
    assert str(outcome.failure(1)).startswith("worker 1 ended with exit code 1")


def test_a_worker_killed_first_is_the_cause_though_another_speaks() -> None:
    outcome = Outcome()
    feed(outcome, "Process 1 exit with status code 137.\nProcess 0 exit with status code 1.", "stdout")
    outcome.add_error(WorkerError("lost contact", 1, 0))
    assert "worker 1 was ended by SIGKILL" in str(outcome.failure(1))


@pytest.mark.parametrize("said", ["Process 0 exit with status code 137.", MPI_SIGNAL])
def test_how_workers_end_that_the_launcher_ends_is_no_cause(said: str) -> None:
    outcome = Outcome()
    outcome.add_error(WorkerError("step 3: non-finite loss", 1, 1, "NonFiniteError"))
    outcome.end()
    feed(outcome, said, "stdout")
    assert str(outcome.failure(1)) == "worker 1: step 3: non-finite loss"


def test_a_killed_worker_under_mpi_is_named() -> None:
    outcome = Outcome()
    assert feed(outcome, MPI_SIGNAL) == []
    assert "worker 2 was ended by SIGKILL" in str(outcome.failure(137))


def test_what_mpirun_says_about_anything_else_is_shown() -> None:
    outcome = Outcome()
    assert feed(outcome, MPI_HINT) == ["There are not enough slots available in the system to satisfy the 9 slots"]
    assert str(outcome.failure(1)) == "horovodrun failed with exit code 1; see its output above"


def test_the_cause_goes_before_those_that_lost_it() -> None:
    outcome = Outcome()
    outcome.add_error(WorkerError("lost contact", 1, 0, "LostWorkerError"))
    outcome.add_error(WorkerError("loss is nan at step 7", 1, 1, "NonFiniteError"))
    assert str(outcome.failure(1)) == "worker 1: loss is nan at step 7"


def test_a_lone_consequence_is_better_than_nothing() -> None:
    outcome = Outcome()
    outcome.add_error(WorkerError("lost contact", 1, 0, "LostWorkerError"))
    assert str(outcome.failure(1)) == "lost contact"


@pytest.mark.parametrize(("code", "kind"), [(2, UserError), (1, RunError), (77, RunError)])
def test_the_workers_exit_code_is_kept(code: int, kind: type[Exception]) -> None:
    outcome = Outcome()
    outcome.add_error(WorkerError("no", code, 0))
    error = outcome.failure(1)
    assert isinstance(error, kind)
    assert error.exit_code == code


def test_lines_after_a_traceback_and_on_the_other_stream_are_not_swallowed() -> None:
    outcome = Outcome()
    assert feed(outcome, "Exception in thread Thread-1:\nTraceback (most recent call last):\n  x\nKeyError: 3") == []
    assert feed(outcome, "on stdout", "stdout") == ["on stdout"]
    assert feed(outcome, "a warning of the launcher") == ["a warning of the launcher"]


def test_a_job_that_did_well_has_no_failure() -> None:
    assert Outcome().failure(0) is None


def test_a_worker_that_went_silent_is_named_with_what_it_did_and_what_others_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("hvdtrain.launch.outcome.time.monotonic", lambda: now[0])
    outcome = Outcome()
    outcome.add_beat(Beat(1, 11, "backward", pid=8))
    for _ in range(15):
        now[0] += 2
        outcome.add_beat(Beat(0, 11, "gradients.w.0", waits=True, seconds=now[0] - 100, pid=7))
        outcome.add_beat(Beat(2, 11, "gradients.w.0", waits=True, seconds=now[0] - 100, pid=9))
    outcome.add_error(WorkerError("after step 11: waited 30 s", 1, 0, "WaitError"))
    feed(outcome, "Process 0 exit with status code 1.\nProcess 1 exit with status code 137.", "stdout")
    assert str(outcome.failure(1)) == (
        "worker 1 gave no sign of life for 30 s, last after step 11, in backward; worker 0, 2 waited for gradients.w.0"
    )


def test_a_worker_that_says_what_it_is_stuck_in_is_the_cause_though_another_spoke_first() -> None:
    outcome = Outcome()
    outcome.add_beat(Beat(0, 11, "gradients.w.0", waits=True, seconds=9, pid=7))
    outcome.add_beat(Beat(1, 11, "loading data", seconds=10, pid=8))
    outcome.add_error(WorkerError("after step 11: waited 12 s for the other workers", 1, 0, "WaitError"))
    outcome.add_error(WorkerError("after step 11: loading data has taken 12 s", 1, 1, "HangError"))
    assert str(outcome.failure(1)) == (
        "worker 1: after step 11: loading data has taken 12 s; worker 0 waited for gradients.w.0"
    )


def test_workers_that_all_speak_leave_the_first_error_as_it_is() -> None:
    outcome = Outcome()
    for rank in (0, 1):
        outcome.add_beat(Beat(rank, 3, "backward", pid=7 + rank))
    outcome.add_error(WorkerError("lost contact", 1, 0, "LostWorkerError"))
    assert str(outcome.failure(1)) == "lost contact"


def test_a_process_that_got_another_rank_is_not_silent_under_its_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker 0 is lost, and worker 1 becomes 0: nobody is to be ended for the silence of a worker 1."""
    now = [100.0]
    monkeypatch.setattr("hvdtrain.launch.outcome.time.monotonic", lambda: now[0])
    outcome = Outcome()
    outcome.add_beat(Beat(1, 9, "backward", pid=222))
    outcome.begin_anew()
    for _ in range(20):
        now[0] += 1
        outcome.add_beat(Beat(0, 9, "backward", pid=222))
    assert outcome.silent(10.0) == []
    now[0] += 11
    assert [(beat.rank, beat.pid) for beat in outcome.silent(10.0)] == [(0, 222)]


def test_what_an_elastic_job_survived_is_no_longer_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("hvdtrain.launch.outcome.time.monotonic", lambda: now[0])
    outcome = Outcome()
    outcome.add_beat(Beat(0, 9, "backward", pid=7))
    now[0] += 60
    outcome.add_beat(Beat(1, 9, "backward", pid=8))
    feed(outcome, "Process 0 exit with status code 137.", "stdout")
    outcome.begin_anew()
    assert [beat.pid for beat in outcome.silent(5.0)] == []
    now[0] += 6
    assert [beat.pid for beat in outcome.silent(5.0)] == [8], "one that fell silent before the others began anew"
    assert outcome.silent(5.0) == [], "each is told once"
    outcome.add_error(WorkerError("the disk is full", 1, 1, "RunError"))
    assert str(outcome.failure(1)) == "worker 1: the disk is full"
