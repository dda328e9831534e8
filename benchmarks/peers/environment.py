"""An environment for the comparison: torch and Horovod as scripts/install puts them, hvdtrain, and the peers.

It imports nothing that the Python that runs it might lack.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TORCH = "torch==2.13.0"
PEERS = ("transformers==5.23.*", "lightning==2.6.*", "accelerate>=1.1")


def default_folder() -> Path:
    """Return where the environment is made unless something else is said."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "hvdtrain" / "peers"


def make(folder: Path) -> Path:
    """Make the environment, or complete it, and return its Python. What is there takes seconds.

    Raises:
        SystemExit: a step failed; it has said why.
    """
    variables = os.environ | {"HVDTRAIN_VENV": str(folder), "HVDTRAIN_SKIP_DATA": "1", "HVDTRAIN_TORCH": TORCH}
    _run([str(ROOT / "scripts" / "install"), "--engine"], variables)
    python = folder / "bin" / "python"
    # Installed in place: what is measured is this checkout.
    constraints = str(folder / ".hvdtrain" / "constraints.txt")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-build-isolation", "-c", constraints]
    _run([*pip, "-e", str(ROOT), *PEERS], os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    return python


def enter(folder: Path) -> None:
    """Make the environment and run this program anew with its Python; return where it is run so already."""
    if Path(sys.prefix).resolve() != folder.resolve():
        python = make(folder.absolute())
        os.execv(python, [str(python), *sys.argv])


def _run(command: list[str], variables: dict[str, str]) -> None:
    if subprocess.run(command, env=variables, stdin=subprocess.DEVNULL, check=False).returncode:
        sys.exit(f"could not make the environment of the peers: {' '.join(command)}")
