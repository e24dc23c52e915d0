"""Decomposition of a matrix's update, which was stored with rounding, into the two factors of a LoRA.

The checkpoint holds W + BA rounded to its dtype, so the update has the singular values of BA, and below them those of
the rounding noise. How large the noise is, and so what can be recovered, follows from the weights themselves.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from comem_memory.config import Settings

MAX_RANK = 64
"""Largest rank that is looked for: the highest default in the authors' code (`params.py`; their script sets 16)."""
SVD_LIMIT = 320
"""Of matrices with a side up to this long all singular values are computed, of larger ones only the leading ones."""
SVD_ACCURACY = 1e-6
"""Singular values below this share of the first are the solver's own float32 rounding."""
EDGE_MARGIN = 1.1
"""How far above the noise's largest expected singular value a value must stand to count."""


class Update(Settings):
    """The update of one matrix, before a rank is chosen; norms are Frobenius norms."""

    shape: tuple[int, int]
    norm: float
    """Norm of the update as it is stored, BA and rounding noise together."""
    weight_norm: float
    """Norm of the frozen matrix."""
    singular_values: list[float]
    """The largest singular values, in falling order."""
    noise: float
    """Root mean square of the rounding noise of one entry."""
    noise_edge: float
    """Largest singular value that rounding noise alone has."""
    exact: bool
    """Whether the update is kept whole: then no singular values are known."""

    @property
    def rank(self) -> int:
        """How many singular values stand above the noise; the full rank if the update is kept whole."""
        if self.exact:
            return min(self.shape)
        return sum(value > self.noise_edge for value in self.singular_values[:MAX_RANK])

    @property
    def is_low_rank(self) -> bool:
        """Whether the rank is so small that the update can be that of a LoRA."""
        return self.rank < MAX_RANK and self.rank <= min(self.shape) // 2

    def quality(self, rank: int) -> Quality:
        """How well the factors of a rank stand for the update."""
        m, n = self.shape
        rank = min(rank, m, n)
        values = self.singular_values
        kept = self.norm**2 if rank == min(m, n) else math.fsum(value**2 for value in values[:rank])
        after = values[rank] if rank < len(values) else 0.0
        rounding = self.noise**2 * rank * (m + n - rank)  # the noise's share in the kept directions
        return Quality(
            relative_update=self.norm / self.weight_norm if self.weight_norm else float(self.norm > 0),
            gap=values[rank - 1] / after if after and rank <= len(values) else None,
            relative_error=math.sqrt(max(self.norm**2 - kept, 0.0)) / self.norm if self.norm else 0.0,
            rounding_error=math.sqrt(rounding / max(kept - rounding, rounding)) if rounding and kept else 0.0,
        )


class Quality(Settings):
    """How well the factors of a rank stand for an update."""

    relative_update: float
    """Norm of the update over the norm of the frozen matrix."""
    gap: float | None
    """The last singular value that is kept, over the first one that is left out, if that is not 0."""
    relative_error: float
    """Share of the stored update's norm that the factors leave out: rounding noise, if the rank is right.
    In large matrices up to 0.1% comes from float32 arithmetic."""
    rounding_error: float
    """Error that the checkpoint's rounding must have left in the factors, relative to the update; 1 means all noise.
    It is an estimate: right to a tenth for updates above the rounding, to a factor of two for those below,
    and to a factor of four where a few columns are much larger than the rest."""


class Factors(NamedTuple):
    """Factors of an update, `b @ a`, with the most important directions first."""

    b: torch.Tensor
    """(m, K), float32."""
    a: torch.Tensor
    """(K, n), float32."""


def decompose(
    outer: torch.Tensor, frozen: torch.Tensor, *, frozen_was_rounded: bool, exact: bool = False
) -> tuple[Update, Factors]:
    """Decomposes the update `outer - frozen`.

    Args:
        outer: The adapted matrix as it is stored, (m, n).
        frozen: The matrix that it is relative to, (m, n).
        frozen_was_rounded: Whether the frozen matrix was rounded after training too, which adds to the noise.
        exact: Whether the update is kept whole: one factor is then the update itself and the other the identity matrix
            on its shorter side, so that K = min(m, n).
    """
    delta = outer.float() - frozen.float()
    norm = float(torch.linalg.vector_norm(delta, dtype=torch.float64))
    noise, edge = _rounding_noise([outer, frozen] if frozen_was_rounded else [outer])
    values, factors = _whole(delta) if exact else _leading(delta)
    update = Update(
        shape=(delta.shape[0], delta.shape[1]),
        norm=norm,
        weight_norm=float(torch.linalg.matrix_norm(frozen.float())),
        singular_values=values,
        noise=noise,
        noise_edge=max([EDGE_MARGIN * edge, *(SVD_ACCURACY * value for value in values[:1])]),
        exact=exact,
    )
    return update, factors


def _whole(delta: torch.Tensor) -> tuple[list[float], Factors]:
    m, n = delta.shape
    identity = torch.eye(min(m, n), dtype=delta.dtype)
    return [], Factors(delta, identity) if m >= n else Factors(identity, delta)


def _leading(delta: torch.Tensor) -> tuple[list[float], Factors]:
    """The largest singular values, and the factors of their directions."""
    if min(delta.shape) <= SVD_LIMIT:
        u, s, vh = torch.linalg.svd(delta.double(), full_matrices=False)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the same factors after an interruption
            u, s, v = torch.svd_lowrank(delta, q=MAX_RANK + 16, niter=4)
        vh = v.T
    root = s[:MAX_RANK].clamp_min(0).sqrt()
    factors = Factors((u[:, :MAX_RANK] * root).float(), (root[:, None] * vh[:MAX_RANK]).float())
    return s[: MAX_RANK + 1].tolist(), factors


def _rounding_noise(weights: list[torch.Tensor]) -> tuple[float, float]:
    """Root mean square of the entries' rounding errors, and the norm of a random matrix of such entries.

    A rounding error is uniform within one step of the format around the number. The norm is at most about the longest
    row plus the longest column (Bandeira and van Handel, arXiv 1408.6185, theorem 1.1).
    """
    rows = torch.zeros(weights[0].shape[0], dtype=torch.float32)
    columns = torch.zeros(weights[0].shape[1], dtype=torch.float32)
    for weight in weights:
        exponent = torch.frexp(weight.float()).exponent - 1
        step = _resolution(weight) * torch.exp2(exponent.float())
        variance = torch.where(weight == 0, 0, step.square() / 12)
        rows += variance.sum(1)
        columns += variance.sum(0)
    mean = float(rows.sum()) / weights[0].numel()
    return math.sqrt(mean), float(rows.max().sqrt() + columns.max().sqrt())


def _resolution(weight: torch.Tensor) -> float:
    """Relative step of the coarsest dtype that holds the matrix exactly: what a file in float32 holds may have been
    rounded before."""
    for dtype in (torch.bfloat16, torch.float16):
        if weight.dtype == dtype or (weight.to(dtype).to(weight.dtype) == weight).all():
            return torch.finfo(dtype).eps
    return torch.finfo(weight.dtype).eps
