"""One step of a power iteration an update, for every gradient matrix (Vogels et al. 2019, algorithm 1).

With M_w the matrix of worker w, its residual included, and M their sum:

    P = sum_w M_w Q        P^ = an orthonormal basis of P's columns        Q' = sum_w M_w^T P^

The update's gradient is P^ Q'^T = P^ P^^T M, and the next one starts from Q'. Both sums are linear in M_w: they are
those of M itself. The paper averages over workers where these sum, as each M_w is a share of M here. A worker keeps
M_w - P^ P^^T M_w, which is what its own terms left out. PyTorch's hook keeps M_w less the mean of all, which has the
same sum over workers, and so the same updates, but lets all that the workers' gradients ever differed by add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hvdtrain.sync._compression import Compressed
from hvdtrain.world import World

_SHRINK = 2
"""Times that a matrix must become smaller to be compressed, as in PyTorch's hook: a basis costs time and accuracy."""

_Q = "powersgd_q"


def ranks(parameters: Sequence[Tensor], rank: int) -> list[int]:
    """Return for each parameter the rank of its gradient, 0 for one that travels as it is."""
    found = []
    for p in parameters:
        rows = len(p) if p.ndim >= 2 else 0
        columns = p.numel() // rows if rows else 0
        low = min(rows, columns, rank)
        found.append(low if (rows + columns) * low * _SHRINK < p.numel() else 0)
    return found


class PowerSGD(Compressed):
    """Two all-reduces an update: of all P with what travels as it is, and of all Q."""

    def __init__(
        self,
        optimizer: Any,
        parameters: Sequence[torch.nn.Parameter],
        world: World,
        *,
        ranks: Sequence[int],
        start_step: int = 0,
    ) -> None:
        """See `ranks` for the ranks; a tensor of more than two dimensions is the matrix of its first with the rest."""
        super().__init__(optimizer, parameters, world, name="powersgd", start_step=start_step)
        self._whole = [index for index, low in enumerate(ranks) if not low]
        self._low = [index for index, low in enumerate(ranks) if low]
        pairs = [(self.residuals[index].flatten(1), ranks[index]) for index in self._low]
        self._matrices = [matrix for matrix, _ in pairs]
        self._grad_matrices = [self.grads[index].flatten(1) for index in self._low]
        self._p_shapes = [(len(matrix), low) for matrix, low in pairs]
        self._q_shapes = [(matrix.shape[1], low) for matrix, low in pairs]
        elements = sum(parameters[index].numel() for index in self._whole) + sum(n * low for n, low in self._p_shapes)
        self._first = self.residual.new_zeros(elements)
        self.q = self._fresh_q()

    def _fresh_q(self) -> Tensor:
        """Draw the first Q, equal on all workers, from a normal distribution."""
        elements = sum(m * low for m, low in self._q_shapes)
        drawn = torch.randn(elements, generator=torch.Generator().manual_seed(0))
        return drawn.to(self.residual)

    def exchange(self) -> None:
        sizes = [self.residuals[index].numel() for index in self._whole]
        *whole, ps = torch.split_with_sizes(self._first, [*sizes, len(self._first) - sum(sizes)])
        for index, values in zip(self._whole, whole, strict=True):
            values.copy_(self.residuals[index].flatten())
            self.residuals[index].zero_()
        for matrix, q, p in zip(
            self._matrices, _split(self.q, self._q_shapes), _split(ps, self._p_shapes), strict=True
        ):
            torch.mm(matrix, basis(q), out=p)
        self.wait(self.start_sum(self._first, "p"))
        for index, values in zip(self._whole, whole, strict=True):
            self.grads[index].copy_(values.view(self.grads[index].shape))
        if self._low:
            self._second_half([basis(p) for p in _split(ps, self._p_shapes)])

    def _second_half(self, bases: Sequence[Tensor]) -> None:
        """Sum Q and multiply, the bases (n, r) of P given; the residual is made while Q is under way."""
        mine = torch.empty_like(self.q)
        own = _split(mine, self._q_shapes)
        for matrix, p, q in zip(self._matrices, bases, own, strict=True):
            torch.mm(matrix.T, p, out=q)
        handle = self.start_sum(self.q.copy_(mine), "q")
        for matrix, p, q in zip(self._matrices, bases, own, strict=True):
            matrix.addmm_(p, q.T, alpha=-1)
        self.wait(handle)
        for gradient, p, q in zip(self._grad_matrices, bases, _split(self.q, self._q_shapes), strict=True):
            torch.mm(p, q.T, out=gradient)

    def discard(self) -> None:
        """Q was multiplied with these gradients, and is drawn anew."""
        super().discard()
        self.q.copy_(self._fresh_q())

    def own_state(self) -> dict[str, Tensor]:
        """Q is the same on all workers, and a residual is of one; an empty tensor could not be gathered."""
        return super().own_state() | ({_Q: self.q} if len(self.q) else {})

    def load_own_state(self, rows: Mapping[str, Tensor], rank: int) -> None:
        """Q of another rank is drawn anew."""
        super().load_own_state(rows, rank)
        kept = rows.get(_Q)
        fits = kept is not None and kept.shape[1:] == self.q.shape
        self.q.copy_(kept[0] if kept is not None and fits else self._fresh_q())


def basis(matrix: Tensor) -> Tensor:
    """Return orthonormal columns that span those of a matrix (n, r), r <= n.

    Where the columns depend on each other, QR by reflections adds others, while Gram-Schmidt would divide by zero: a
    gradient of zeros does no harm, and a full rank is exact whatever rank the gradient has. The decomposition is made
    in float64, since all workers must come to the same basis, if their processors round otherwise too.
    """
    q: Tensor = torch.linalg.qr(matrix.double()).Q
    return q.to(matrix.dtype)


def _split(flat: Tensor, shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
    parts = torch.split_with_sizes(flat, [rows * columns for rows, columns in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
