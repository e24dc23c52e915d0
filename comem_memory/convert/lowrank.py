"""An update of a matrix, stored with rounding, taken apart into the two factors of a LoRA.

The checkpoint holds W + BA rounded to its dtype, so the update's singular values are those of BA and then a floor of
rounding noise. How high that floor is follows from the weights themselves, and with it what can be recovered.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from comem_memory.config import Settings

MAX_RANK = 64
"""Largest rank looked for: the highest default in the authors' code (`params.py`; their script sets 16)."""
SVD_LIMIT = 320
"""Matrices with a side up to this long are taken apart in full; larger ones along their leading directions only."""
SVD_ACCURACY = 1e-6
"""Singular values below this share of the first are the solver's own float32 rounding."""
EDGE_MARGIN = 1.1
"""How far above the noise's largest expected singular value a value must stand to count."""


class Update(Settings):
    """What one matrix's update holds, whatever rank is chosen; norms are Frobenius norms."""

    shape: tuple[int, int]
    norm: float
    """Of the update as stored, BA and rounding noise together."""
    weight_norm: float
    """Of the frozen matrix."""
    singular_values: list[float]
    """The largest, in falling order."""
    noise: float
    """Root mean square of the rounding noise of one entry."""
    noise_edge: float
    """Largest singular value that rounding noise alone has."""
    exact: bool
    """Whether it is kept whole and was not taken apart: no singular values are known."""

    @property
    def rank(self) -> int:
        """Singular values that stand above the noise; all, if the update is kept whole."""
        if self.exact:
            return min(self.shape)
        return sum(value > self.noise_edge for value in self.singular_values[:MAX_RANK])

    @property
    def is_low_rank(self) -> bool:
        return self.rank < MAX_RANK and self.rank <= min(self.shape) // 2

    def quality(self, rank: int) -> Quality:
        """How well the factors of this rank stand for the update."""
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
    relative_update: float
    """Norm of the update over the norm of the frozen matrix."""
    gap: float | None
    """Last singular value kept over the first one left out, if that is not 0."""
    relative_error: float
    """Share of the stored update's norm that the factors leave out: rounding noise, if the rank is right.
    Below 0.1% it is the float32 arithmetic's own in large matrices."""
    rounding_error: float
    """Error that the checkpoint's rounding must have left in the factors, relative to the update; 1 = all noise.
    An estimate: right to a tenth for updates above the rounding, to a factor of two for those below,
    and to a factor of four where a few columns are much larger than the rest."""


class Factors(NamedTuple):
    """`b @ a` is the update, in order of importance: b (m, K), a (K, n), float32."""

    b: torch.Tensor
    a: torch.Tensor


def decompose(
    outer: torch.Tensor, frozen: torch.Tensor, *, frozen_was_rounded: bool, exact: bool = False
) -> tuple[Update, Factors]:
    """Takes apart `outer - frozen`.

    Args:
        outer, frozen: (m, n), the adapted matrix as stored and the one it is relative to.
        frozen_was_rounded: whether the frozen matrix was rounded after training too, and adds its noise.
        exact: one factor is the update itself, the other the identity on its shorter side, so K = min(m, n).
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
    return [], Factors(delta, torch.eye(n)) if m >= n else Factors(torch.eye(m), delta)


def _leading(delta: torch.Tensor) -> tuple[list[float], Factors]:
    """The largest singular values and their directions."""
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
    rows = torch.zeros(weights[0].shape[0])
    columns = torch.zeros(weights[0].shape[1])
    for weight in weights:
        exponent = torch.frexp(weight.float()).exponent - 1
        step = _resolution(weight) * torch.exp2(exponent.float())
        variance = torch.where(weight == 0, 0, step.square() / 12)
        rows += variance.sum(1)
        columns += variance.sum(0)
    mean = float(rows.sum()) / weights[0].numel()
    return math.sqrt(mean), float(rows.max().sqrt() + columns.max().sqrt())


def _resolution(weight: torch.Tensor) -> float:
    """Step of the coarsest format that holds the matrix exactly: a float32 file may hold numbers rounded before."""
    for dtype in (torch.bfloat16, torch.float16):
        if weight.dtype == dtype or (weight.to(dtype).to(weight.dtype) == weight).all():
            return torch.finfo(dtype).eps
    return torch.finfo(weight.dtype).eps
