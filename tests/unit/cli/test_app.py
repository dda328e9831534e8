from __future__ import annotations

import subprocess
import sys

import pytest
import typer

import hvdtrain
from hvdtrain.cli.app import app

COMMANDS = [
    [],
    ["train"],
    ["launch"],
    ["validate"],
    ["generate"],
    ["evaluate"],
    ["predict"],
    ["doctor"],
    ["estimate"],
    ["report"],
    ["scale"],
    ["tune"],
    ["compare"],
    ["estimate"],
    ["recipes"],
    ["recipes", "list"],
    ["recipes", "show"],
    ["recipes", "copy"],
    ["recipes", "schema"],
    ["data"],
    ["data", "list"],
    ["data", "fetch"],
    ["data", "partition"],
    ["checkpoint"],
    ["checkpoint", "list"],
    ["checkpoint", "verify"],
    ["checkpoint", "diff"],
]


def hvdtrain_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hvdtrain", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def all_commands(group: typer.core.TyperGroup, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = {path}
    for name, command in group.commands.items():
        if not command.hidden:
            found |= all_commands(command, (*path, name)) if hasattr(command, "commands") else {(*path, name)}
    return found


def test_the_list_above_is_complete() -> None:
    assert all_commands(typer.main.get_command(app)) == {tuple(command) for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: list[str]) -> None:
    shown = hvdtrain_command(*command, "--help")
    assert shown.returncode == 0
    assert " ".join(["hvdtrain", *command]) in " ".join(shown.stdout.split())


def test_the_version_is_the_packages() -> None:
    assert hvdtrain_command("--version").stdout.strip() == f"hvdtrain {hvdtrain.__version__}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "no-such-recipe"], "no-such-recipe"),
        (["train", "gpt-shakespear"], "gpt-shakespeare"),
        (["train", "gpt-shakespeare", "optimizer.lrr=1"], "did you mean"),
        (["train", "gpt-shakespeare", "optimizer.lr=fast"], "optimizer.lr"),
        (["train", "gpt-shakespeare", "train.global_batch_size=20"], "train.global_batch_size"),
        (["generate", "/no/such/run"], "/no/such/run does not exist"),
        (["data", "fetch", "shakespear"], "did you mean 'shakespeare'"),
        (["launch", "-np", "0", "gpt-shakespeare"], "-np"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_2(arguments: list[str], message: str) -> None:
    shown = hvdtrain_command(*arguments)
    assert shown.returncode == 2
    assert message in shown.stderr
    assert shown.stderr.count("error: ") == 1
    assert "Traceback" not in shown.stderr


def test_output_below_a_file_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    shown = hvdtrain_command("train", "gpt-shakespeare", f"output_dir={tmp_path / 'file' / 'run'}")
    assert shown.returncode == 2
    assert "output_dir" in shown.stderr
    assert "Traceback" not in shown.stderr
