from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from hvdtrain.cli import launch
from hvdtrain.errors import RecipeError, RunError, UserError
from hvdtrain.launch.command import Launch
from hvdtrain.launch.host_facts import HostFacts, gather
from hvdtrain.launch.hosts import Host, interface_to_others

FITTING = ("train.global_batch_size=32", "train.micro_batch_size=8")


def invoke(*arguments: str) -> Any:
    app = typer.Typer()
    app.command("launch", context_settings=launch.CONTEXT)(launch.launch)
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, ["launch", *arguments])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """What was asked for, nothing being started."""
    found: list[Launch] = []
    monkeypatch.setattr(launch, "_run", lambda request, *_: found.append(request) or 0)
    return found


@pytest.mark.parametrize("form", [["-np", "2"], ["-np=2"], ["--num-proc", "2"]])
def test_the_number_of_workers_is_spelled_as_for_horovodrun(form: list[str], asked: list[Launch]) -> None:
    assert invoke(*form, "gpt").exit_code == 0
    assert asked[0].workers == 2


def test_options_may_stand_before_and_after_the_recipe(asked: list[Launch]) -> None:
    result = invoke(
        "-np", "4", "-H", "a:2,b:2", "gpt", "a.b=-1", "--gloo", "c.d=x", "--cycle-time-ms", "5", "--resume", "never"
    )
    assert result.exit_code == 0, result.output
    (one,) = asked
    assert (one.recipe, one.overrides, one.resume) == ("gpt", ("a.b=-1", "c.d=x"), "never")
    assert (one.hosts, one.controller) == ((Host("a", 2), Host("b", 2)), "gloo")
    assert {name: value for name, value in one.flags.items() if value is not None} == {"cycle_time_ms": 5.0}


def test_a_hostfile_is_read(tmp_path: Path, asked: list[Launch]) -> None:
    (tmp_path / "hosts").write_text("a slots=2\n")
    assert invoke("-np", "2", "--hostfile", str(tmp_path / "hosts"), "gpt").exit_code == 0
    assert asked[0].hosts == (Host("a", 2),)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-np", "2", "--gloo", "--mpi", "gpt"], "exclude each other"),
        (["-np", "2", "-H", "a:1", "--hostfile", "x", "gpt"], "exclude each other"),
        (["-np", "0", "gpt-shakespeare"], "at least one worker"),
        (["-np", "4", "-H", "a:2", "gpt-shakespeare"], "2 slots"),
    ],
)
def test_contradictions_are_errors_of_the_user(arguments: list[str], problem: str) -> None:
    error = invoke(*arguments).exception
    assert isinstance(error, UserError)
    assert problem in str(error)


@pytest.mark.parametrize("arguments", [["gpt"], ["-np", "2"], ["-np", "x", "gpt"], ["-np", "2", "--no-such", "gpt"]])
def test_wrong_usage_is_told(arguments: list[str]) -> None:
    assert invoke(*arguments).exit_code == 2


@pytest.fixture
def _nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was started")

    monkeypatch.setattr("subprocess.Popen", refuse)


@pytest.mark.usefixtures("_nothing_starts")
def test_a_bad_recipe_starts_nothing() -> None:
    error = invoke("-np", "2", "gpt-shakespeare", "model.d_mode=3").exception
    assert isinstance(error, RecipeError)
    assert "d_mode" in str(error)


@pytest.mark.usefixtures("_nothing_starts")
def test_a_global_batch_that_does_not_divide_starts_nothing() -> None:
    error = invoke("-np", "3", "gpt-shakespeare", "train.global_batch_size=32", "train.micro_batch_size=8").exception
    assert isinstance(error, RecipeError)
    assert "train.global_batch_size=24 or 48" in str(error)


@pytest.mark.usefixtures("_nothing_starts")
@pytest.mark.parametrize(
    ("workers", "flags", "built", "problem"),
    [
        ("3", ["--mpi"], ("gloo", "mpi"), "start 2 or 4"),
        ("2", ["--gloo"], ("gloo", "mpi"), "under MPI only"),
        ("2", ["--min-np", "2"], ("gloo", "mpi"), "under MPI only"),
        ("2", [], ("gloo",), "under MPI only"),
    ],
)
def test_workers_that_a_strategy_does_not_fit_start_nothing(
    workers: str, flags: list[str], built: tuple[str, ...], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hvdtrain.launch.facts.horovod_controllers", lambda: built)
    adasum = ["gpt-shakespeare", "sync={name: adasum}", "train.global_batch_size=48"]
    error = invoke("-np", workers, *flags, *adasum).exception
    assert isinstance(error, RecipeError)
    assert str(error).startswith("sync.name = adasum: ")
    assert problem in str(error)


@pytest.mark.usefixtures("_nothing_starts")
@pytest.mark.parametrize(
    ("limits", "changes", "said"),
    [
        (
            ["--min-np", "1"],
            ["sync={name: parameter_server, servers: 2, placement: dedicated}"],
            "with 2 workers, which",
        ),
        (["--min-np", "3"], ["sync={name: local_sgd}", "train.on_nonfinite=rollback"], "they can't go back together"),
        (["--min-np", "3", "--max-np", "5"], ["sync={name: parameter_server, servers: 4}"], "servers"),
    ],
)
def test_an_elastic_job_must_fit_every_number_of_workers(limits: list[str], changes: list[str], said: str) -> None:
    error = invoke("-np", "3", *limits, "gpt-shakespeare", "train.global_batch_size=48", *changes).exception
    assert isinstance(error, RecipeError)
    assert said in str(error)


@pytest.mark.usefixtures("_nothing_starts")
def test_workers_that_a_strategy_fits_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvdtrain.launch.facts.horovod_controllers", lambda: ("gloo", "mpi"))
    with pytest.raises(AssertionError, match="something was started"):
        raise invoke("-np", "2", "gpt-shakespeare", "sync={name: adasum}", *FITTING).exception


@pytest.mark.usefixtures("_nothing_starts")
def test_a_loopback_name_is_refused_for_gloo_on_several_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(name: str, port: int | None, key: str | None) -> HostFacts:
        links = {"eth0": ("10.0.0.2/24",)}
        return HostFacts(name, name, "127.0.1.1", links, versions=gather("a", "/").versions, mpi=True)

    monkeypatch.setattr("hvdtrain.launch.hosts.remote", lambda hosts: ("b",))
    monkeypatch.setattr("hvdtrain.launch.preflight.over_ssh", ask)
    monkeypatch.setattr("hvdtrain.launch.command.find_horovodrun", lambda: "horovodrun")
    command = ["-np", "2", "-H", "a:1,b:1", "--gloo", "gpt-shakespeare", *FITTING]
    error = invoke(*command).exception
    assert isinstance(error, UserError)
    assert "b: its own name, b, resolves there to 127.0.1.1" in str(error)
    with pytest.raises(AssertionError, match="something was started"):
        raise invoke(*command, "--no-host-check").exception


@pytest.mark.usefixtures("_nothing_starts")
@pytest.mark.parametrize(("kind", "begin"), [("horovodrun", "horovodrun -np 2 -H a:1,b:1"), ("slurm", "#!/bin/bash")])
def test_print_writes_and_starts_nothing(kind: str, begin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hvdtrain.launch.command.find_horovodrun", lambda: "horovodrun")
    result = invoke("-np", "2", "-H", "a:1,b:1", "--print", kind, "gpt-shakespeare", *FITTING)
    assert result.exit_code == 0
    assert result.stdout.startswith(begin)
    error = invoke("-np", "3", "--print", kind, "gpt-shakespeare", "train.global_batch_size=32").exception
    assert isinstance(error, RecipeError)


@pytest.mark.usefixtures("_nothing_starts")
def test_what_a_scheduler_is_asked_for_comes_from_the_options_and_the_recipe() -> None:
    command = ["-np", "2", "--print", "slurm", "gpt-shakespeare", *FITTING]
    assert "--cpus-per-task=3\n" in invoke(*command, "train.threads_per_worker=3").stdout
    printed = invoke(*command, "train.threads_per_worker=3", "--cores-per-worker", "5", "--gpus").stdout
    assert "--cpus-per-task=5\n" in printed
    assert "--gpus-per-task=1\n" in printed
    manifest = invoke("-np", "2", "--print", "mpijob", "--image", "mine:1", "gpt-shakespeare", *FITTING).stdout
    assert manifest.count("image: mine:1\n") == 2


def test_the_exit_code_of_a_stopped_run_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_run", lambda *_: 130)
    assert invoke("-np", "2", "gpt").exit_code == 130


def test_help_explains_every_flag(asked: list[Launch]) -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for name in ("-np", "--hosts", "--cycle-time-ms", "--min-np", "--timeline-filename", "--blacklist-cooldown-range"):
        assert name in result.output


@pytest.mark.parametrize(
    ("given", "alone", "chosen"),
    [
        ({"host_discovery_script": "x"}, True, True),
        ({"host_discovery_script": "x"}, False, False),
        ({"host_discovery_script": "x", "network_interfaces": "eth9"}, True, False),
        ({"min_np": 1}, True, False),
    ],
)
def test_an_elastic_job_on_one_machine_is_told_its_interface(given: dict, alone: bool, chosen: bool) -> None:
    """horovodrun would ask a second host for it, and wait until there is one."""
    told: list[str] = []
    flags = launch._elastic_flags(given, alone, SimpleNamespace(message=told.append))
    assert flags.get("network_interfaces") == (interface_to_others() if chosen else given.get("network_interfaces"))
    assert len(told) == chosen
    assert flags["gloo_timeout_seconds"] == 180


@pytest.mark.parametrize(
    ("resume", "began", "saved", "expected"),
    [
        ("never", False, False, "never"),
        ("never", True, False, "auto"),
        ("other/step-100", True, False, "other/step-100"),
        ("other/step-100", True, True, "auto"),
        ("auto", False, False, "auto"),
    ],
)
def test_a_job_that_is_started_again_goes_on_from_what_is_its_own(
    monkeypatch: pytest.MonkeyPatch, resume: str, began: bool, saved: bool, expected: str
) -> None:
    """What the directory holds is that once it has begun; but there may be nothing to go on from but the other run."""
    asked: list[str] = []

    class Fails:
        def run(self) -> int:
            if len(asked) > 1:
                return 0
            raise RunError("worker 1 was ended by SIGKILL")

    def runner(request: Launch, *_: object) -> Fails:
        asked.append(request.resume)
        made = Fails()
        made.began, made.saved = began, saved
        return made

    monkeypatch.setattr(launch, "_runner", runner)
    request = Launch("gpt-shakespeare", 2, overrides=FITTING, resume=resume)
    assert launch._run(request, plain=True, stop_timeout=1.0, host_check=False, restarts=2) == 0
    assert asked == [resume, expected]
