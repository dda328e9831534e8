"""Commands on other hosts, over the ssh that horovodrun uses too, with the same options."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

CONNECT_SECONDS = 5
FAILED = 255
"""ssh's own exit code, where it is not that of the command."""
_OPTIONS = ("-o", "PasswordAuthentication=no", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes")


def command(host: str, there: str, port: int | None = None, identity_file: str | None = None) -> list[str]:
    """Return the ssh command line that runs a shell command on a host."""
    options = ["-o", f"ConnectTimeout={CONNECT_SECONDS}"]
    options += ["-p", str(port)] if port is not None else []
    options += ["-i", identity_file] if identity_file is not None else []
    return ["ssh", *_OPTIONS, *options, host, there]


def python(module: str, arguments: Sequence[str]) -> str:
    """Return the shell command that runs a module with this Python in this directory; where there is none, elsewhere.

    That is how horovodrun starts workers.
    """
    path = [f"PYTHONPATH={os.environ['PYTHONPATH']}"] if os.environ.get("PYTHONPATH") else []
    run = shlex.join([*(["env", *path] if path else []), sys.executable, "-m", module, *arguments])
    return f"cd {shlex.quote(str(Path.cwd()))} 2> /dev/null; {run}"
