"""Numbers, durations and foreign text in the form that a person reads; the same everywhere."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping

from hvdtrain.metrics.records import PHASES

GROUPS: dict[str, tuple[str, ...]] = {
    "data": ("data",),
    "compute": ("forward", "backward", "optimizer"),
    "communication": ("communication",),
    "imbalance": ("imbalance",),
    "other": ("other",),
}
"""The parts of a step as the short views show them; `communication` is the exposed part."""


def loss(value: float | None) -> str:
    """Return a loss or another metric with four decimals, fewer where it is large."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"


def metric(value: float | None) -> str:
    """Return a number with about four significant digits."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}"
    return f"{value:.2e}"


def rate(value: float | None) -> str:
    """Return a rate: whole with thousands separated, two significant digits where it is small."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.1f}"


def learning_rate(value: float) -> str:
    """Return a learning rate with three significant digits, `1e-3` as `1.00e-03`, so that columns align."""
    return f"{value:.2e}"


def quantity(value: float, unit: str = "") -> str:
    """Return a number with a decimal prefix: 6,816,000 as `6.82 M`, with the unit `B` as `6.82 MB`."""
    if not math.isfinite(value):
        return str(value)
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        # What would be rounded up to 1000 of a prefix is 1 of the next.
        if abs(value) >= 0.9995 * factor:
            return f"{value / factor:.3g} {prefix}{unit}".rstrip()
    return f"{value:.3g} {unit}".rstrip()


def size(value: float) -> str:
    """Return bytes with a decimal prefix: `1.21 GB`."""
    return quantity(value, "B")


def seconds(value: float) -> str:
    """Return a short time with its unit: `629 ms`, `12.3 s`."""
    if not math.isfinite(value):
        return "-"
    if value < 1e-3:
        return f"{value * 1e6:.3g} us"
    if value < 0.9995:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s" if value < 1000 else duration(value)


def duration(value: float | None) -> str:
    """Return a length of time as on a clock: `0:07`, `4:05`, `1:02:03`, `2d 03:04`."""
    if value is None or not math.isfinite(value):
        return "-"
    whole = max(0, round(value))
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d {hours:02}:{minutes:02}"
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def percent(share: float | None, digits: int = 0) -> str:
    """Return a share as a percentage: 0.883 as `88 %`."""
    return "-" if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f} %"


def plural(count: int, noun: str) -> str:
    """Return `1 worker`, `2 workers`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def phase_shares(times: Mapping[str, float]) -> dict[str, float]:
    """Return the share of the step of each of `PHASES`; nothing where the step's time is not known."""
    step = times.get("step", 0.0)
    return {name: times.get(name, 0.0) / step for name in PHASES} if step > 0 and math.isfinite(step) else {}


def group_shares(times: Mapping[str, float]) -> dict[str, float]:
    """Return the share of the step of each of `GROUPS`."""
    shares = phase_shares(times)
    return {group: sum(shares[name] for name in names) for group, names in GROUPS.items()} if shares else {}


def engine(knobs: Mapping[str, str]) -> str:
    """Return the knobs of Horovod's engine in people's units; each value may be followed by where it came from."""
    return ", ".join(_knob(name, value) for name, value in knobs.items())


def _knob(name: str, value: str) -> str:
    number, _, origin = value.partition(" ")
    if name == "HOROVOD_FUSION_THRESHOLD" and number.isdigit():
        return f"fusion {int(number) / 2**20:g} MiB {origin}".rstrip()
    if name == "HOROVOD_CYCLE_TIME":
        return f"cycle {number} ms {origin}".rstrip()
    return f"{name.removeprefix('HOROVOD_').lower().replace('_', ' ')} {value}"


def clean(text: str) -> str:
    """Return foreign text without what could move the cursor, change colours or hide itself; newlines and tabs stay."""
    return "".join(c for c in _ESCAPES.sub("", text) if c in "\n\t" or unicodedata.category(c) not in _UNPRINTABLE)


def excerpt(text: str) -> str:
    """Return a model's text, cleaned, without empty lines at its ends or more than one in a row within."""
    return re.sub(r"\n[ \t]*(\n[ \t]*)+(?=\n)", "\n", clean(text)).strip("\n")


_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# Control, format (direction marks), surrogate, private use, unassigned.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
