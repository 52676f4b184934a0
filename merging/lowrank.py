"""Sums of low-rank deltas without building a delta: inner products, the exact sum, truncation with a known error.

A delta is a pair of factors (B, A) of shapes (m, r) and (r, n), its scaling folded into B. Every problem is reduced
by QR to one of size R x R (R = sum of the ranks), solved in float64. Nothing here knows of files or methods.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Factors = tuple[Tensor, Tensor]

NUMERICAL_RANK = 1e-7  # a singular value below this share of the largest is rounding of float32 inputs
CANCELLED = 1e-12  # a sum below this share of its summands is rounding of float64 arithmetic


def inner_product(first: Factors, second: Factors) -> float:
    """⟨B₁A₁, B₂A₂⟩, the Frobenius inner product of two deltas, in O((m+n)·r₁·r₂) instead of O(m·n·r).

    Args:
        first, second: factors of deltas of one shape; the ranks may differ, and rank 0 is a zero delta.
    """
    (b1, a1), (b2, a2) = first, second
    return float(((b1.double().T @ b2.double()) * (a1.double() @ a2.double().T)).sum())


def norm(delta: Factors) -> float:
    """‖BA‖, the Frobenius norm of a delta."""
    return math.sqrt(max(0.0, inner_product(delta, delta)))


def stack(factors: Sequence[Factors], weights: Sequence[float]) -> Factors:
    """The weighted sum Σ wᵢ·BᵢAᵢ as one pair of factors [w₁B₁ … wₙBₙ], [A₁; …; Aₙ] in float64; its rank is Σ rᵢ."""
    b = torch.cat([weight * b.double() for (b, _), weight in zip(factors, weights, strict=True)], dim=1)
    return b, torch.cat([a.double() for _, a in factors])


@dataclass(frozen=True)
class Spectrum:
    """A delta as its singular value decomposition left · diag(values) · right, all float64.

    Attributes:
        left: (m, k), orthonormal columns.
        values: (k,), falling, those above the numerical rank; k may be 0.
        right: (k, n), orthonormal rows.
    """

    left: Tensor
    values: Tensor
    right: Tensor

    @property
    def rank(self) -> int:
        return len(self.values)

    def factors(self, rank: int) -> Factors:
        """The best approximation of that rank (Eckart-Young) in float64, √σ on both sides so that neither is large."""
        root = self.values[:rank].sqrt()
        return self.left[:, :rank] * root, root[:, None] * self.right[:rank]

    def energy(self, rank: int) -> float:
        """The share of Σσ² that the first `rank` singular values hold; 1 for a zero delta."""
        squares = self.values.square()
        total = float(squares.sum())
        return float(squares[:rank].sum()) / total if total else 1.0


def decompose(b: Tensor, a: Tensor, *, scale: float = 0.0) -> Spectrum:
    """The exact singular value decomposition of BA, by QR of both factors and an R x R SVD.

    Args:
        b, a: (m, R) and (R, n), float64.
        scale: the size of the summands behind BA. Singular values below 1e-12 of it are what is left of summands
            that cancel, and are dropped; 0 if nothing was summed.
    """
    left_basis, left_small = torch.linalg.qr(b)
    right_basis, right_small = torch.linalg.qr(a.T)
    left, values, right = torch.linalg.svd(left_small @ right_small.T, full_matrices=False)
    kept = numerical_rank(values, scale)
    return Spectrum(left_basis @ left[:, :kept], values[:kept], right[:kept] @ right_basis.T)


def weighted_sum(factors: Sequence[Factors], weights: Sequence[float]) -> Spectrum:
    """Σ wᵢ·BᵢAᵢ exactly, as its singular value decomposition, in O((m+n)·R² + R³)."""
    scale = max(abs(weight) * norm(delta) for delta, weight in zip(factors, weights, strict=True))
    return decompose(*stack(factors, weights), scale=scale)


def numerical_rank(values: Tensor, scale: float = 0.0) -> int:
    """How many of the falling singular values are more than rounding."""
    largest = float(values[0]) if len(values) else 0.0
    return int((values > max(NUMERICAL_RANK * largest, CANCELLED * scale)).sum())


def rank_for_energy(values: Tensor, energy: float, total: float | None = None) -> int:
    """The smallest rank that keeps this share of Σσ²; at least 1 where there is anything to keep.

    Args:
        values: falling singular values.
        energy: the share, in (0, 1].
        total: Σσ² of the whole matrix, where `values` are only its largest ones.
    """
    squares = values.double().square()
    wanted = energy * (float(squares.sum()) if total is None else total) * (1 - 1e-12)
    return min(int((squares.cumsum(0) < wanted).sum()) + 1, len(values))


def distance(exact: Factors, written: Factors) -> float:
    """‖B₁A₁ − B₂A₂‖, through the R x R problem of [B₁ −B₂][A₁; A₂]."""
    b, a = stack([exact, written], [1.0, -1.0])
    left, right = torch.linalg.qr(b).R, torch.linalg.qr(a.T).R
    return float(torch.linalg.matrix_norm(left @ right.T))


def written_error(exact: Spectrum, rank: int, written: Factors) -> float:
    """‖exact − written‖, where `written` are `exact.factors(rank)` cast to the dtype of the file.

    The pieces (what was cut off, what the cast moved in B and in A) are measured as they are, so that no two large
    numbers are subtracted.
    """
    b, a = exact.factors(rank)
    cut = (exact.left[:, rank:] * exact.values[rank:]).float(), exact.right[rank:].float()
    moved = (b - written[0]).float(), (a - written[1]).float()
    left = torch.cat([cut[0], moved[0], written[0].float()], dim=1)
    right = torch.cat([cut[1], a.float(), moved[1]])
    return norm((left, right))


def randomized(matrix: Tensor, rank: int, generator: torch.Generator, *, extra: int = 16, rounds: int = 3) -> Spectrum:
    """The largest singular values and vectors of a dense matrix, by random projection (Halko et al. 2011, alg. 4.4).

    Args:
        matrix: (m, n) float32.
        rank: how many are wanted; the spectrum has at most that many.
        generator: draws the projection.
        extra: further columns that are projected and then dropped; they make the wanted ones accurate.
        rounds: of power iteration, each of which lets small singular values fade against large ones.
    """
    width = rank + extra
    if width >= min(matrix.shape):
        left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
        kept = min(rank, numerical_rank(values))
        return Spectrum(left[:, :kept], values[:kept], right[:kept])
    basis = torch.linalg.qr(matrix @ torch.randn(matrix.shape[1], width, generator=generator)).Q
    for _ in range(rounds):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ basis).Q).Q
    rows, small = torch.linalg.qr((matrix.T @ basis).double())
    right, values, left = torch.linalg.svd(small, full_matrices=False)
    kept = min(rank, numerical_rank(values))
    return Spectrum(basis.double() @ left[:kept].T, values[:kept], (rows @ right[:, :kept]).T)
