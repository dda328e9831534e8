"""Links and clusters: what a prediction is told about the network, in the units that people write."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from hvdtrain.errors import UserError

PAYLOAD = 0.95
"""Share of a link's nominal rate that carries data. Of an Ethernet frame of 1,514 bytes TCP with timestamps leaves
1,448 (95.6 %); at 200 Mbit/s, shaped by the kernel, an all-reduce of 4 MiB was measured to reach 95 %."""

_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_RATE = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([kmgt]?)(bit|bps|b)(?:/s)?", re.IGNORECASE)
_TIME = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*(ns|us|µs|ms|s)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Link:
    """What joins two workers, in each direction.

    `rate` is the nominal rate in bytes a second, of which `payload` carries data; `latency` the seconds that the wire
    adds to a message, beside what software takes. `UNLIMITED` adds nothing: the software is the limit then.
    """

    rate: float
    latency: float = 0.0
    payload: float = PAYLOAD

    @property
    def seconds_per_byte(self) -> float:
        """Seconds that each byte of data takes; b in the cost of a ring."""
        return 1.0 / (self.rate * self.payload)

    def __str__(self) -> str:
        rate = "unlimited" if math.isinf(self.rate) else format_rate(self.rate)
        return f"{rate}, {self.latency * 1e6:g} us"


UNLIMITED = Link(math.inf)


@dataclass(frozen=True)
class Cluster:
    """Workers on hosts: `per_host` on each but perhaps the last, joined by `inner`, and the hosts by `outer`.

    `cores` are a host's; None where the workers compute on devices of their own. `hierarchical` reduces inside each
    host first (`horovodrun --hierarchical-allreduce`, on GPUs) instead of in one ring of all workers.

    Raises:
        UserError: a number is not positive, or a hierarchical all-reduce over hosts with unequal workers.
    """

    workers: int
    outer: Link
    inner: Link = UNLIMITED
    per_host: int = 1
    cores: int | None = None
    hierarchical: bool = False

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("workers per host", self.per_host)):
            if value < 1:
                raise UserError(f"{name}: {value}: expected a whole number, at least 1")
        if self.hierarchical and self.workers > self.per_host and self.workers % self.per_host:
            raise UserError(
                f"{self.workers} workers: a hierarchical all-reduce needs hosts with equally many, and {self.per_host} "
                f"a host leave {self.workers % self.per_host} over; use a multiple of {self.per_host}, or no "
                "--hierarchical"
            )

    @property
    def hosts(self) -> int:
        """Number of hosts."""
        return math.ceil(self.workers / self.per_host)

    @property
    def local(self) -> int:
        """Workers on the fullest host."""
        return min(self.workers, self.per_host)


def parse_rate(text: str, option: str = "--link") -> float:
    """Return bytes a second for a rate such as `25Gbit`, `200Mbit/s`, `100Gbps` or `3.1GB/s` (prefixes are decimal).

    Raises:
        UserError: it is no positive rate with a unit.
    """
    match = _RATE.fullmatch(text.strip())
    value = _number(match[1]) if match else 0.0
    if match is None or not 0 < value < math.inf:
        raise UserError(f"{option} {text}: expected a rate with its unit, such as 200Mbit, 25Gbit or 3GB/s")
    # As everywhere in networking a small b is bits and a capital one bytes: Gb/s, GB/s.
    bits = match[3] != "B"
    return value * _PREFIXES[match[2].lower()] / (8 if bits else 1)


def parse_seconds(text: str, option: str = "--latency") -> float:
    """Return seconds for a time such as `20us`, `1.5ms` or `2s`.

    Raises:
        UserError: it is no time with a unit.
    """
    match = _TIME.fullmatch(text.strip())
    value = _number(match[1]) if match else -1.0
    if match is None or not 0 <= value < math.inf:
        raise UserError(f"{option} {text}: expected a time with its unit, such as 20us, 1.5ms or 2s")
    return value * _SECONDS[match[2]]


def format_rate(rate: float) -> str:
    """Return bytes a second as people name links: `25 Gbit/s`."""
    bits = 8 * rate
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if bits >= 0.9995 * factor:
            return f"{bits / factor:.3g} {prefix}bit/s"
    return f"{bits:.3g} bit/s"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
