"""Classes spread evenly over an order, and dealt out so that all workers have equal shares of each."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import numpy as np


def spread(counts: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Return an order of classes in which each is as evenly spread as can be: (N,) int64, N = sum(counts).

    With p_c = counts[c] / N, the first m places hold m p_c of class c to less than one, for every m and c. So the k-th
    of class c (from 0) has a place from floor(k / p_c) to ceil((k + 1) / p_c) - 1; that all these windows can be kept
    together, by always taking the one that ends first, is shown in Steiner and Yeomans 1993, "Level schedules for
    mixed-model, just-in-time processes", after Tijdeman 1980, "The chairman assignment problem".

    Args:
        counts: samples of each class, (C,), each above 0.
        ties: a permutation of range(N); of windows that end together, the one whose number here is lower is taken.
    """
    total = int(counts.sum())
    classes = np.repeat(np.arange(len(counts)), counts)
    sizes = counts[classes]
    copies = _places_in_runs(counts)
    begins = copies * total // sizes
    ends = -((copies + 1) * -total // sizes) - 1
    by_end = np.lexsort((ties, ends))
    urgency = np.empty(total, dtype=np.int64)
    urgency[by_end] = np.arange(total)
    by_begin = np.argsort(begins, kind="stable")
    opening = np.searchsorted(begins[by_begin], np.arange(total), side="right").tolist()
    waiting, opened = urgency[by_begin].tolist(), 0
    queue: list[int] = []
    taken = []
    for until in opening:
        while opened < until:
            heapq.heappush(queue, waiting[opened])
            opened += 1
        taken.append(heapq.heappop(queue))
    result: np.ndarray = classes[by_end[taken]]
    return result


def deal(labels: np.ndarray, first: int, size: int) -> np.ndarray:
    """Return the worker of each sample of an epoch, (N,) int64: each row's samples go to different workers, and of each
    class the workers' counts differ by one at most.

    A row is `size` samples that follow each other; the first sample is in place `first` of its row. Of rows that hold
    the same classes, each `size` are dealt in a circle, which gives all workers the same. The others are coloured:

    Let rows be the one side of a bipartite graph, and each class's samples, in groups of `size`, the other; a sample is
    an edge between its row and its group. No vertex has more than `size` edges, so they can be coloured with `size`
    colours, the workers, such that no vertex has one twice (König 1916): a full group has each worker once, and the
    last group of a class has none twice.

    The samples of the first row get the workers from `first` on, and those of the last row the workers from 0 on, so
    that an epoch fits to the next one where they share a row.

    Args:
        labels: the class of each sample, (N,), as numbers from 0, in the order in which they are dealt.
    """
    places = first + np.arange(len(labels))
    if size == 1 or len(labels) == 0 or places[-1] < size:
        return places % size
    workers = _deal_in_circles(labels, (size - first) % size, size)
    left = np.flatnonzero(workers < 0)
    rows = (places[left] // size).tolist()
    groups = _groups(labels[left], size)
    ends = _tie_ends(rows, groups, first, int(places[-1]) % size + 1, size)
    colours = _Colouring(rows, groups, size).colours()
    low, high = ([colours[edge] for edge in edges] for edges in ends)
    order = [*low, *sorted(set(range(size)) - {*low, *high}), *high]
    workers[left] = np.argsort(order)[colours[: len(left)]]
    return workers


def _deal_in_circles(labels: np.ndarray, skipped: int, size: int) -> np.ndarray:
    """Return the worker of each sample whose row belongs to a circle, -1 for the others: (N,) int64.

    The first row and the last are left out; `skipped` samples are before the first whole row.
    """
    workers = np.full(len(labels), -1)
    begin = skipped or size
    count = max(0, (len(labels) - 1 - begin) // size)
    if not count:
        return workers
    rows = labels[begin : begin + count * size].reshape(count, size)
    by_class = np.argsort(rows, axis=1, kind="stable")
    kinds, counts = np.unique(np.take_along_axis(rows, by_class, 1), axis=0, return_inverse=True, return_counts=True)[
        1:
    ]
    turns = np.empty(count, dtype=np.int64)
    turns[np.argsort(kinds.reshape(-1), kind="stable")] = _places_in_runs(counts)
    dealt = np.empty_like(rows)
    np.put_along_axis(dealt, by_class, (turns[:, None] + np.arange(size)) % size, 1)
    dealt[turns >= (counts - counts % size)[kinds.reshape(-1)]] = -1
    workers[begin : begin + count * size] = dealt.reshape(-1)
    return workers


def _places_in_runs(lengths: np.ndarray) -> np.ndarray:
    """Return 0, 1, ... for each of some runs, one behind the other: (sum(lengths),)."""
    places: np.ndarray = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return places


def _groups(labels: np.ndarray, size: int) -> list[int]:
    """Return the group of each sample: the first `size` of a class are one, the next another, and so on."""
    counts = np.bincount(labels)
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[np.argsort(labels, kind="stable")] = _places_in_runs(counts)
    groups = -(-counts // size)
    found: list[int] = ((np.cumsum(groups) - groups)[labels] + ranks // size).tolist()
    return found


def _tie_ends(rows: list[int], groups: list[int], first: int, last: int, size: int) -> tuple[range, range]:
    """Change the graph so that, with colours renamed, the first row can have those from `first` on and the last row
    those below `last`. Return the edges whose colours are to be named 0, 1, ... and those to be named ..., size - 1.

    Where the two sets are disjoint, the rows become one vertex, so that their colours are. Else both rows are filled up
    to `size` edges, and what fills them shares a vertex on the other side: the first row's filling is named 0, ...,
    `first` - 1, and the last row's `last`, ..., `size` - 1.
    """
    count = len(rows)
    if last <= first:
        rows[count - last :] = [rows[0]] * last
        return range(count - last, count), range(size - first)
    filling = max(groups) + 1
    rows += [rows[0]] * first + [rows[-1]] * (size - last)
    groups += [filling] * (first + size - last)
    return range(count, count + first), range(count + first, len(rows))


class _Colouring:
    """Colours the edges of a bipartite graph such that no vertex has a colour twice.

    The textbook's proof of König's theorem: an edge takes a colour that both its ends lack. Where there is none, the
    row lacks a and the group b; the path of these two colours that begins at the one does not reach the other, so
    swapping a and b along it, whichever is shorter, makes a colour free at both.
    """

    def __init__(self, rows: Sequence[int], groups: Sequence[int], size: int) -> None:
        """Edge i joins rows[i] with groups[i]; no vertex has more than `size` edges."""
        self._size = size
        self._ends = (rows, groups)
        self._edges = tuple([-1] * ((max(side) + 1) * size) for side in self._ends)  # by vertex and colour
        self._lacks = tuple([(1 << size) - 1] * (max(side) + 1) for side in self._ends)  # bits, by vertex
        self._colours = [0] * len(rows)

    def colours(self) -> list[int]:
        """Return the colour of each edge, 0 to size - 1."""
        rows_lack, groups_lack = self._lacks
        for edge, (row, group) in enumerate(zip(*self._ends, strict=True)):
            common = (rows_lack[row] & groups_lack[group]) or self._make_common(row, group)
            bit = common & -common
            self._set(edge, bit.bit_length() - 1)
            rows_lack[row] ^= bit
            groups_lack[group] ^= bit
        return self._colours

    def _set(self, edge: int, colour: int) -> None:
        self._colours[edge] = colour
        for ends, edges in zip(self._ends, self._edges, strict=True):
            edges[ends[edge] * self._size + colour] = edge

    def _make_common(self, row: int, group: int) -> int:
        """Swap two colours along a path; return the bit of the colour that both vertices lack then."""
        bits = tuple(lack[vertex] & -lack[vertex] for lack, vertex in zip(self._lacks, (row, group), strict=True))
        a, b = (bit.bit_length() - 1 for bit in bits)
        walks = self._walk(0, row, b, a), self._walk(1, group, a, b)
        paths: tuple[list[int], list[int]] = ([], [])
        side = 0
        while (edge := next(walks[side], None)) is not None:
            paths[side].append(edge)
            side = 1 - side
        path = paths[side]
        beginning, side_of_end = (row, group)[side], (side + len(path)) % 2
        for edge in path:
            for ends, edges in zip(self._ends, self._edges, strict=True):
                edges[ends[edge] * self._size + self._colours[edge]] = -1
        for edge in path:
            self._set(edge, a + b - self._colours[edge])
        self._lacks[side][beginning] ^= bits[0] | bits[1]
        self._lacks[side_of_end][self._ends[side_of_end][path[-1]]] ^= bits[0] | bits[1]
        return bits[1 - side]

    def _walk(self, side: int, vertex: int, colour: int, other: int) -> Iterator[int]:
        """Yield the edges of the path from a vertex (of rows: side 0) whose colours are `colour`, `other`, ..."""
        while (edge := self._edges[side][vertex * self._size + colour]) >= 0:
            yield edge
            side = 1 - side
            vertex = self._ends[side][edge]
            colour, other = other, colour
