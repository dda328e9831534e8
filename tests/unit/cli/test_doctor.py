from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from hvdtrain.cli.doctor import doctor
from hvdtrain.launch import facts
from hvdtrain.launch.facts import Facts

READY = Facts(
    torch="2.13.0", horovod="0.28.1", built={"gloo": True}, executable="/v/bin/python", horovodrun="/v/bin/horovodrun",
    ssh="/usr/bin/ssh", cores=4, logical=4, memory_gb=16, free_memory_gb=8, interfaces={"lo": "127.0.0.1"},
    free_disk_gb=9,
)  # fmt: skip


def invoke(monkeypatch: pytest.MonkeyPatch, planted: Facts, *arguments: str) -> Any:
    monkeypatch.setattr(facts, "gather", lambda: planted)
    app = typer.Typer()
    app.command("doctor")(doctor)
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_a_machine_that_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(monkeypatch, READY)
    assert result.exit_code == 0
    assert "Ready to train." in result.output


def test_a_warning_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(monkeypatch, replace(READY, ssh=None))
    assert result.exit_code == 0
    assert "worth a look: ssh" in result.output


def test_what_is_missing_fails_and_is_told_with_the_command_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(monkeypatch, replace(READY, horovod=None, built={}))
    assert result.exit_code == 1
    assert "to mend it: scripts/install" in result.output
    assert "will not work: Horovod" in result.output


def test_findings_can_be_read_by_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(monkeypatch, replace(READY, torch=None), "--json")
    assert result.exit_code == 1
    states = {one["what"]: one["state"] for one in json.loads(result.output)}
    assert states["PyTorch"] == "bad"
    assert states["cores"] == "ok"


def test_facts_of_this_machine_can_be_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_probe", lambda: {"torch": "1", "gpus": []})
    found = facts.gather()
    assert found.cores >= 1
    assert found.memory_gb > 0
    assert "lo" in found.interfaces or found.interfaces


def test_a_probe_that_dies_is_a_finding_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_PROBE", "import os; os.abort()")
    assert "ended Python with code -6" in facts._probe()["horovod_error"]
