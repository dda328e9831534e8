"""The account of a campaign: one line of JSON a trial, so that it can go on another day, and what they come to."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from peers.prepare import hardware, versions

_FOLDERS = re.compile(r"(?<![\w.])/(?:[\w.+~-]+/)+")
"""Of the paths in what a job said only the last part is anybody else's business."""
RESULTS = Path(__file__).parents[1] / "results" / "reliability"


class Ledger:
    """The trials of one campaign so far, those of earlier days included."""

    def __init__(self, campaign: str) -> None:
        self.path = RESULTS / f"{campaign}.jsonl"
        self._about = {
            "date": date.today().isoformat(),
            "hardware": hardware(),
            "versions": versions(("torch", "horovod", "hvdtrain")),
        }
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.trials: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def add(self, **facts: Any) -> None:
        """Append a trial; it is on the disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.trials.append(self._about | facts)
        with self.path.open("a") as file:
            file.write(_FOLDERS.sub("", json.dumps(self.trials[-1])) + "\n")


def table(trials: Iterable[dict[str, Any]], key: Callable[[dict[str, Any]], str], good: str = "ok") -> str:
    """Return how many trials of each kind did well, and what became of the others."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for trial in trials:
        kinds.setdefault(key(trial), []).append(trial)
    lines = []
    for kind, own in sorted(kinds.items()):
        failed = [str(trial.get("why", "")) for trial in own if not trial[good]]
        lines.append(f"{kind}: {len(own) - len(failed)} of {len(own)}" + "".join(f"\n    {why}" for why in failed))
    return "\n".join(lines)
