"""What an all-reduce costs: the ring, the hierarchical one, and the fit of their constants to measured ones.

A ring all-reduce of S bytes over n workers is a reduce-scatter and an all-gather of n - 1 steps each, in which every
worker sends and receives S / n bytes (Patarasuk and Yuan 2009, https://doi.org/10.1016/j.jpdc.2008.09.002; the terms as
in Thakur, Rabenseifner and Gropp 2005, https://doi.org/10.1177/1094342005051521, section 2):

    T = 2 (n - 1) a + 2 (n - 1)/n S b + (n - 1)/n S g

with a seconds a message, b seconds a byte on the slowest link of the ring, g seconds to sum a byte. It is what Horovod
does through Gloo at any size, and NCCL for large buffers (Sergeev and Del Balso 2018, https://arxiv.org/abs/1802.05799).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hvdtrain.scaling.prediction.links import Cluster, Link

FEWEST_SIZES = 3
"""A fit of two constants needs one size more, or nothing would show how well they fit."""
_SWEEPS = 20
_HUBER = 1.5


@dataclass(frozen=True)
class Software:
    """What the library and the host add to a link, whatever it is.

    Attributes:
        latency: seconds a message, between workers of one host or of two.
        seconds_per_byte: the least that moving a byte to the next worker takes, on a link that does not limit it.
        reduce: seconds to sum a byte.
        processor: processor seconds that a worker spends for each byte of an all-reduce's buffer; 0 on GPUs.
        beside: speeds that backward and an all-reduce keep beside each other, 1 being each one's alone; None where they
            were not measured, and follow from `processor` and `busy`.
        busy: cores that its engine keeps busy while an all-reduce is under way, however slow the link: what waits for a
            wire is woken for every few packets.
    """

    latency: float = 0.0
    seconds_per_byte: float = 0.0
    reduce: float = 0.0
    processor: float = 0.0
    busy: float = 0.0
    beside: tuple[float, float] | None = None

    def message(self, link: Link) -> float:
        """Return a for a link: the latencies add."""
        return self.latency + link.latency

    def byte(self, link: Link) -> float:
        """Return b for a link: sending overlaps with the wire, so that the slower of the two counts."""
        return max(self.seconds_per_byte, link.seconds_per_byte)


def ring_seconds(size: float, workers: int, message: float, byte: float, reduce: float) -> float:
    """Return the seconds of a ring all-reduce of `size` bytes; the formula of this module. 0 for one worker."""
    steps = workers - 1
    return 2 * steps * message + steps / workers * size * (2 * byte + reduce)


def hierarchical_seconds(size: float, cluster: Cluster, software: Software) -> float:
    """Return the seconds of a hierarchical all-reduce, as NCCLHierarchicalAllreduce of Horovod does it.

    With h hosts of m workers: reduce-scatter inside each host, an all-reduce of S / m bytes by each of the m workers
    with its peers on the other hosts, all-gather inside (Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section
    4). The m all-reduces share a host's outer link, which so carries what one of S bytes would take:

        T = 2 (m - 1) a_in + (m - 1)/m S (2 b_in + g) + 2 (h - 1) a_out + (h - 1)/h S (2 b_out + g/m)
    """
    m, h = cluster.local, cluster.hosts
    inside = ring_seconds(size, m, software.message(cluster.inner), software.byte(cluster.inner), software.reduce)
    # The link is shared by m workers, the software of each is its own.
    byte = max(cluster.outer.seconds_per_byte, software.seconds_per_byte / m)
    across = ring_seconds(size, h, software.message(cluster.outer), byte, software.reduce / m)
    return inside + across


def flat_seconds(size: float, cluster: Cluster, software: Software) -> float:
    """Return the seconds of one ring of all workers, ordered by host.

    A step ends no sooner than a chunk has met the links one after the other, of which h of n are between the h hosts,
    nor than the slowest link has carried its chunk: per step the larger of the mean of a + S/n b over the links and the
    largest S/n b (the eigenvalue of the ring's max-plus recursion). With links that are all alike this is the formula
    of this module. A host's outer link carries one crossing in each direction, however many workers the host has:
    they do not share it.
    """
    n, chunk = cluster.workers, size / cluster.workers
    outside = cluster.hosts / n if cluster.hosts > 1 else 0.0
    used = [(cluster.outer, outside), (cluster.inner, 1 - outside)]
    links = [(share, software.message(link), chunk * software.byte(link)) for link, share in used if share > 0]
    step = max(
        sum(share * (message + carried) for share, message, carried in links), *(carried for _, _, carried in links)
    )
    return 2 * (n - 1) * step + (n - 1) * chunk * software.reduce


def allreduce_seconds(size: float, cluster: Cluster, software: Software) -> float:
    """Return the seconds of an all-reduce of one buffer with nothing else running.

    Where the workers compute on cores, it takes at least the processor seconds of a host's workers over its cores.
    """
    if cluster.workers == 1:
        return 0.0
    seconds = (hierarchical_seconds if cluster.hierarchical else flat_seconds)(size, cluster, software)
    if cluster.cores is not None:
        seconds = max(seconds, software.processor * size * cluster.local / cluster.cores)
    return seconds


@dataclass(frozen=True)
class Fit:
    """Constants of a ring that measured all-reduces were fitted with; `error` is the root mean square of the relative
    residuals, `sizes` the number of different sizes.
    """

    latency: float
    seconds_per_byte: float
    reduce: float
    error: float
    sizes: int


def fit_ring(rows: Sequence[tuple[float, float]], workers: int, reduce: float, wait: float = 0.0) -> Fit | str:
    """Fit a and b of the ring to measured all-reduces; return the reason as text where that can't be done.

    Least squares of relative residuals, so that small and large buffers count alike, with a and b kept non-negative;
    residuals beyond 1.5 times their usual size count less (Huber's weights, iterated), because a measured time is only
    ever disturbed upwards. The engine's negotiation is an all-reduce of a few bits itself (CacheCoordinator::sync), so
    that a buffer alone in its cycle is taken to cost the latencies of two rings.

    Args:
        rows: (bytes, seconds) of each all-reduce.
        workers: that took part.
        reduce: g, seconds to sum a byte, measured by itself.
        wait: seconds of each row that went by before the engine's next cycle.
    """
    if workers < 2:
        return "no fit of the link: one worker sends nothing"
    rows = [(size, seconds) for size, seconds in rows if size > 0 and seconds > 0]
    sizes = len({size for size, _ in rows})
    if sizes < FEWEST_SIZES:
        return f"no fit of the link: all-reduces of {sizes} different sizes, and its two constants need {FEWEST_SIZES}"
    steps = workers - 1
    per_message, share = 4.0 * steps, steps / workers
    # Relative to what was measured, the wait included: that is the scale of its noise.
    table = [
        (per_message / took, 2 * share * size / took, (took - wait - share * size * reduce) / took)
        for size, took in rows
    ]
    weights = [1.0] * len(table)
    latency = byte = 0.0
    for _ in range(_SWEEPS):
        latency, byte = _non_negative(table, weights)
        residuals = [abs(x * latency + y * byte - z) for x, y, z in table]
        scale = sorted(residuals)[len(residuals) // 2] / 0.6745
        weights = [1.0 if r <= _HUBER * scale else _HUBER * scale / r for r in residuals]
    error = (sum((x * latency + y * byte - z) ** 2 for x, y, z in table) / len(table)) ** 0.5
    return Fit(latency, byte, reduce, error, sizes)


def _non_negative(table: Sequence[tuple[float, float, float]], weights: Sequence[float]) -> tuple[float, float]:
    """Return the (u, v) >= 0 that minimises the weighted squares of x u + y v - z over the rows (x, y, z)."""
    sums = [0.0] * 5
    for (x, y, z), w in zip(table, weights, strict=True):
        for i, product in enumerate((x * x, x * y, y * y, x * z, y * z)):
            sums[i] += w * product
    xx, xy, yy, xz, yz = sums
    determinant = xx * yy - xy * xy
    if determinant > 1e-12 * xx * yy:
        u, v = (yy * xz - xy * yz) / determinant, (xx * yz - xy * xz) / determinant
        if u >= 0 and v >= 0:
            return u, v
    # The best lies on an edge: one of the two is 0.
    edges = [(max(0.0, xz / xx) if xx else 0.0, 0.0), (0.0, max(0.0, yz / yy) if yy else 0.0)]

    def squares(edge: tuple[float, float]) -> float:
        u, v = edge
        return u * u * xx + 2 * u * v * xy + v * v * yy - 2 * (u * xz + v * yz)

    return min(edges, key=squares)
