from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from hvdtrain.errors import RunError, SetupError, UserError
from hvdtrain.launch.processes import Job
from hvdtrain.launch.runner import Runner, worker_environment
from hvdtrain.metrics.records import EndRecord, Record, StepRecord

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


class FakeView:
    def __init__(self) -> None:
        self.records: list[Record] = []
        self.messages: list[tuple[int | None, str]] = []
        self.notices: list[str] = []
        self.closed = 0

    def __call__(self, record: Record) -> None:
        self.records.append(record)

    def message(self, text: str, rank: int | None = None) -> None:
        self.messages.append((rank, text))

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def command(folder: Path, scenario: str, *, workers: int = 2, mpi: bool = False) -> list[str]:
    line = [sys.executable, str(HERE / "fake_horovodrun.py"), "-np", str(workers), *(["--mpi"] if mpi else [])]
    return [*line, sys.executable, str(HERE / "fake_worker.py"), str(folder), scenario]


def alive(folder: Path) -> list[int]:
    """The processes that workers have noted and that still run."""
    noted = [int(path.read_text() or 0) for path in folder.glob("pid-*")]
    return [number for number in noted if number and runs(number)]


def runs(number: int) -> bool:
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def signal_when(
    condition: Callable[[], bool], number: int, again: Callable[[], bool] | None = None
) -> threading.Thread:
    """Send this process a signal once something is so, and once more when something else is, as long as it is handled:
    it would end the tests."""
    own = signal.getsignal(number)

    def wait() -> None:
        for wanted in filter(None, (condition, again)):
            deadline = time.monotonic() + 60
            while not wanted() and time.monotonic() < deadline:
                time.sleep(0.02)
            if signal.getsignal(number) is not own:
                os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("mpi", [False, True])
def test_a_job_that_does_well(tmp_path: Path, mpi: bool) -> None:
    view = FakeView()
    assert Runner(command(tmp_path, "well", mpi=mpi), view).run() == 0
    assert [record.event for record in view.records][:1] == ["start"]
    assert isinstance(view.records[-1], EndRecord)
    assert sorted(view.messages) == [(0, "hello from 0"), (1, "hello from 1")]
    assert view.closed == 1


@pytest.mark.parametrize("mpi", [False, True])
def test_an_error_that_all_workers_report_is_raised_once_with_its_code(tmp_path: Path, mpi: bool) -> None:
    view = FakeView()
    with pytest.raises(UserError, match=r"^model.d_mode: unknown$"):
        Runner(command(tmp_path, "refuse", mpi=mpi), view).run()
    assert view.messages == []
    assert alive(tmp_path) == []


@pytest.mark.parametrize("mpi", [False, True])
def test_a_crash_shows_that_workers_traceback_and_names_it(tmp_path: Path, mpi: bool) -> None:
    view = FakeView()
    with pytest.raises(RunError, match="worker 1 ended with exit code 1"):
        Runner(command(tmp_path, "crash", mpi=mpi), view).run()
    assert (1, "ZeroDivisionError: of worker one") in view.messages
    assert {rank for rank, _ in view.messages} == {1}, "nothing of the launcher's own noise"
    assert alive(tmp_path) == []


def test_a_worker_that_was_killed_is_the_cause_not_the_one_that_lost_it(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"worker 1 was ended by SIGKILL.*memory"):
        Runner(command(tmp_path, "killed"), FakeView()).run()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("mpi", [False, True])
def test_a_signal_stops_the_workers_and_leaves_them_time_to_save(
    tmp_path: Path, number: int, code: int, mpi: bool
) -> None:
    view = FakeView()
    signal_when(lambda: any(isinstance(record, StepRecord) for record in view.records), number)
    assert Runner(command(tmp_path, "long", mpi=mpi), view).run() == code
    assert {path.name for path in tmp_path.glob("saved-*")} == {"saved-0", "saved-1"}
    end = view.records[-1]
    assert isinstance(end, EndRecord)
    assert end.reason == "stopped"
    assert view.notices[0].startswith("stopping")
    assert alive(tmp_path) == []


def test_a_second_signal_ends_them_at_once(tmp_path: Path) -> None:
    view = FakeView()
    signal_when(
        lambda: any(isinstance(record, StepRecord) for record in view.records),
        signal.SIGINT,
        again=lambda: bool(view.notices),
    )
    assert Runner(command(tmp_path, "deaf"), view).run() == 130
    assert "ending all workers" in view.notices[-1]
    assert alive(tmp_path) == []


def test_workers_that_do_not_stop_in_time_are_ended(tmp_path: Path) -> None:
    view = FakeView()
    signal_when(lambda: any(isinstance(record, StepRecord) for record in view.records), signal.SIGTERM)
    assert Runner(command(tmp_path, "deaf"), view, stop_timeout=0.3).run() == 143
    assert "did not stop within 0.3 s" in view.notices[-1]
    assert alive(tmp_path) == []


def test_before_training_a_signal_ends_them_at_once(tmp_path: Path) -> None:
    signal_when(lambda: len(list(tmp_path.glob("pid-*"))) == 2, signal.SIGINT)
    assert Runner(command(tmp_path, "deaf-start"), FakeView()).run() == 130
    assert alive(tmp_path) == []


def test_strays_of_a_finished_run_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runner, "PATIENCE", 0.5)
    assert Runner(command(tmp_path, "stray"), FakeView()).run() == 0
    assert len(list(tmp_path.glob("pid-stray-*"))) == 2
    assert alive(tmp_path) == []


def test_a_view_that_breaks_does_not_leave_a_job_behind(tmp_path: Path) -> None:
    class Broken(FakeView):
        def __call__(self, record: Record) -> None:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        Runner(command(tmp_path, "long"), Broken()).run()
    assert {path.name for path in tmp_path.glob("saved-*")} == {"saved-0", "saved-1"}
    assert alive(tmp_path) == []


@pytest.mark.parametrize("mpi", [False, True])
def test_a_launcher_that_is_killed_leaves_no_process_and_the_workers_save(tmp_path: Path, mpi: bool) -> None:
    program = (
        "import sys; from hvdtrain.launch.runner import Runner; from hvdtrain.report.plain import PlainReporter\n"
        "Runner(sys.argv[1:], PlainReporter()).run()"
    )
    line = [sys.executable, "-c", program, *command(tmp_path, "long", mpi=mpi)]
    launcher = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(alive(tmp_path)) == 2)
    time.sleep(0.5)
    launcher.kill()
    launcher.wait()
    wait_for(lambda: alive(tmp_path) == [])
    assert {path.name for path in tmp_path.glob("saved-*")} == {"saved-0", "saved-1"}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_horovodruns_own_failure_is_one_line(tmp_path: Path) -> None:
    script = "import sys; print('looking', flush=True); raise ValueError('Requested more processes (4) than slots (2)')"
    view = FakeView()
    with pytest.raises(RunError, match=r"^horovodrun failed with exit code 1: ValueError: Requested more processes"):
        Runner([sys.executable, "-c", script], view).run()
    assert view.messages == [(None, "looking")]


def test_a_program_that_can_not_be_started_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="can't start"):
        Runner([str(tmp_path / "nothing")], FakeView()).run()


def test_the_terminals_signals_do_not_reach_horovodrun() -> None:
    view = FakeView()
    Runner([sys.executable, "-c", "import os; print(os.getsid(0), os.getpid())"], view).run()
    session, process = view.messages[0][1].split()
    assert session == process


def test_signal_handlers_come_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    Runner([sys.executable, "-c", ""], FakeView()).run()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_nothing_secret_is_added_to_what_horovodrun_shows_on_command_lines() -> None:
    added = worker_environment("mark", {"PATH": "/bin"})
    assert added == {"PATH": "/bin", "HVDTRAIN_LAUNCH_ID": "mark", "HVDTRAIN_EVENTS": "1", "PYTHONUNBUFFERED": "1"}


def test_what_takes_a_worker_from_a_job_that_goes_on_is_told(tmp_path: Path) -> None:
    view = FakeView()
    assert Runner(command(tmp_path, "full"), view, elastic=True).run() == 0
    assert (None, "warning: worker 1: disk full") in view.messages


def test_numbers_that_are_none_end_an_elastic_job(tmp_path: Path) -> None:
    """Its other workers would come to the same batch one after the other."""
    with pytest.raises(RunError, match="worker 1: step 3: non-finite loss"):
        Runner(command(tmp_path, "no number"), FakeView(), elastic=True).run()
    assert alive(tmp_path) == []


def test_a_frozen_worker_on_a_host_that_can_not_be_reached_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ssh").write_text("#!/bin/sh\nexit 255\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    code = (
        "import os, socket, time; from hvdtrain.report.events import write_beat\n"
        "from hvdtrain.metrics.activity import Activity\n"
        "socket.gethostname, os.getpid = lambda: 'far', lambda: 77\n"
        "print('[1]<stdout>:', end=''); write_beat(1, 5, Activity('a step', 0.0), 0.0)\n"
        "end = time.monotonic() + 60\n"
        f"while not os.path.exists({str(tmp_path / 'told')!r}) and time.monotonic() < end: time.sleep(0.05)"
    )

    class Listening(FakeView):
        def message(self, text: str, rank: int | None = None) -> None:
            super().message(text, rank)
            (tmp_path / "told").touch()

    view = Listening()
    assert Runner([sys.executable, "-c", code], view, Job("", ("node2",)), elastic=True, silence=1.0).run() == 0
    told = (
        "warning: worker 1 gave no sign of life for 1 s (train.hang_timeout), and node2 could not be asked over ssh; "
    )
    assert (None, f"{told}if process 77 of far is there, end it") in view.messages
