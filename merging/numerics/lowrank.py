"""Sums of low-rank deltas without building a delta: inner products, the exact sum, truncation with a known error.

A delta is a pair of factors (B, A) of shapes (m, r) and (r, n), its scaling folded into B. Every problem is reduced
to one of size R x R (R = sum of the ranks), solved in float64. Nothing here knows of files or methods.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from merging.numerics.coefficients import Coefficient, Factors, with_plain_weights
from merging.numerics.orthonormal import Orthonormal, orthonormal_columns
from merging.numerics.row_blocks import sum_of_squares

NUMERICAL_RANK = 1e-7  # a singular value below this share of the largest is rounding of float32 inputs
MOST_ROUNDS = 12  # of power iteration
CONVERGED = 0.997  # a round that leaves more than this of the error has little to gain from another
UNSEEN = 1e-3  # errors below this share of the whole come from rounding in float32 as much as from the cut
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
    b, a = delta[0].double(), delta[1].double()
    return math.sqrt(max(0.0, float(((b.T @ b) * (a @ a.T)).sum())))


def gram(factors: Sequence[Factors]) -> Tensor:
    """Every ⟨ΔWᵢ, ΔWⱼ⟩, (n, n) float64."""
    products = torch.zeros(len(factors), len(factors), dtype=torch.float64)
    for first, second in combinations_with_replacement(range(len(factors)), 2):
        products[first, second] = products[second, first] = inner_product(factors[first], factors[second])
    return products


def row_products(first: Factors, second: Factors) -> Tensor:
    """The inner product of each row of one delta with the same row of the other, (m,) float64, without either."""
    (b1, a1), (b2, a2) = first, second
    return ((b1.double() @ (a1.double() @ a2.double().T)) * b2.double()).sum(1)


def column_products(first: Factors, second: Factors) -> Tensor:
    """The same for the columns, (n,) float64."""
    return row_products(*((a.T, b.T) for b, a in (first, second)))


def side_by_side(factors: Sequence[Factors]) -> Factors:
    """[B₁ … Bₙ] and [A₁; …; Aₙ] in float64; their product is the plain sum of the deltas."""
    rank = sum(b.shape[1] for b, _ in factors)
    b = torch.empty(factors[0][0].shape[0], rank, dtype=torch.float64)
    a = torch.empty(rank, factors[0][1].shape[1], dtype=torch.float64)
    start = 0
    for each_b, each_a in factors:
        end = start + each_b.shape[1]
        b[:, start:end], a[start:end] = each_b, each_a
        start = end
    return b, a


def stack(factors: Sequence[Factors], coefficients: Sequence[Coefficient]) -> Factors:
    """The weighted sum Σ cᵢ·BᵢAᵢ as one pair of factors [c₁B₁ … cₙBₙ], [A₁; …; Aₙ] in float64; its rank is Σ rᵢ.

    Args:
        factors: one (B, A) per delta.
        coefficients: one each: a number, or numbers per row or per column (see coefficients.py).
    """
    factors, weights = with_plain_weights(factors, coefficients)
    b, a = side_by_side(factors)
    ranks = torch.tensor([b.shape[1] for b, _ in factors])
    return b * torch.tensor(weights, dtype=torch.float64).repeat_interleave(ranks), a


@dataclass(frozen=True)
class Spectrum:
    """A delta as its singular value decomposition left · diag(values) · right, all float64.

    Both sides are kept as a product of a tall and a small matrix: a cut to a low rank then never needs all of them.

    Attributes:
        left_basis, left_turn: (m, p) and (p, k); their product, `left`, has orthonormal columns.
        values: (k,), falling, those above the numerical rank; k may be 0.
        right_turn, right_basis: (k, q) and (q, n); their product, `right`, has orthonormal rows.
    """

    left_basis: Tensor
    left_turn: Tensor
    values: Tensor
    right_turn: Tensor
    right_basis: Tensor

    @property
    def rank(self) -> int:
        return len(self.values)

    @property
    def left(self) -> Tensor:
        """(m, k)."""
        return self.left_basis @ self.left_turn

    @property
    def right(self) -> Tensor:
        """(k, n)."""
        return self.right_turn @ self.right_basis

    def cut(self, rank: int) -> "Spectrum":
        """The largest `rank` singular values alone."""
        turns = self.left_turn[:, :rank], self.values[:rank], self.right_turn[:rank]
        return Spectrum(self.left_basis, *turns, self.right_basis)

    def factors(self, rank: int) -> Factors:
        """The best approximation of that rank (Eckart-Young) in float64, √σ on both sides so that neither is large."""
        root = self.values[:rank].sqrt()
        left, right = self.left_turn[:, :rank] * root, root[:, None] * self.right_turn[:rank]
        return self.left_basis @ left, right @ self.right_basis

    def energy(self, rank: int) -> float:
        """The share of Σσ² that the first `rank` singular values hold; 1 for a zero delta."""
        squares = self.values.square()
        total = float(squares.sum())
        return float(squares[:rank].sum()) / total if total else 1.0


def decompose(b: Tensor, a: Tensor, *, scale: float = 0.0) -> Spectrum:
    """The exact singular value decomposition of BA, by orthonormal bases of both factors and an R x R SVD.

    Args:
        b, a: (m, R) and (R, n), float64.
        scale: the size of the summands behind BA. Singular values below 1e-12 of it are what is left of summands
            that cancel, and are dropped; 0 if nothing was summed.
    """
    left, right = orthonormal_columns(b), orthonormal_columns(a.T)
    return _spectrum(left, left.upper @ right.upper.T, right, scale)


def weighted_sum(factors: Sequence[Factors], coefficients: Sequence[Coefficient]) -> Spectrum:
    """Σ cᵢ·BᵢAᵢ exactly, as its singular value decomposition, in O((m+n)·R² + R³). Arguments as in `stack`."""
    factors, weights = with_plain_weights(factors, coefficients)
    b, a = side_by_side(factors)
    left, right = orthonormal_columns(b), orthonormal_columns(a.T)
    ranks = [b.shape[1] for b, _ in factors]
    pairs = zip(left.upper.split(ranks, dim=1), right.upper.split(ranks, dim=1), strict=True)
    parts = [weight * (mine @ other.T) for weight, (mine, other) in zip(weights, pairs, strict=True)]
    scale = max(float(torch.linalg.matrix_norm(part)) for part in parts)
    return _spectrum(left, torch.stack(parts).sum(0), right, scale)


def _spectrum(rows: Orthonormal, small: Tensor, columns: Orthonormal, scale: float) -> Spectrum:
    """rows · small · columnsᵀ."""
    left, values, right = torch.linalg.svd(small, full_matrices=False)
    kept = numerical_rank(values, scale)
    turns = rows.turn @ left[:, :kept], values[:kept], right[:kept] @ columns.turn.T
    return Spectrum(rows.matrix, *turns, columns.matrix.T)


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


def randomized(
    matrix: Tensor, rank: int, generator: torch.Generator, *, extra: int = 16, start: Tensor | None = None
) -> Spectrum:
    """The largest singular values and vectors of a dense matrix, by random projection (Halko et al. 2011, alg. 4.4).

    Power iteration goes on until another round takes less than 0.3 % from the error of the cut, which is known after
    each: ‖matrix‖² − Σσ². Even for pure noise, where each round helps least, the cut is then within 1 % of the best.

    Args:
        matrix: (m, n) float32.
        rank: how many are wanted; the spectrum has at most that many.
        generator: draws the projection.
        extra: further columns that are projected and then dropped; they make the wanted ones accurate.
        start: (n, s) whose columns are near the right singular vectors: with a good guess one round is enough.
    """
    guesses = 0 if start is None else start.shape[1]
    width = extra + max(rank - guesses, 0)
    if rank + extra >= min(matrix.shape) or guesses + width >= min(matrix.shape):
        left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
        kept = min(rank, numerical_rank(values))
        return Spectrum(left[:, :kept], torch.eye(kept).double(), values[:kept], torch.eye(kept).double(), right[:kept])
    projection = torch.randn(matrix.shape[1], width, generator=generator)
    if start is not None:
        projection = torch.cat([start / torch.linalg.vector_norm(start, dim=0).clamp(min=1e-30), projection], dim=1)
    total, error = sum_of_squares(matrix), math.inf
    for _ in range(MOST_ROUNDS):
        basis = torch.linalg.qr(matrix @ projection).Q
        projection = matrix.T @ basis
        squares = torch.linalg.eigvalsh((projection.T @ projection).double()).flip(0)[:rank]
        before, error = error, math.sqrt(max(0.0, total - float(squares.sum())))
        if error >= CONVERGED * before or before <= UNSEEN * math.sqrt(total):
            break
        projection = torch.linalg.qr(projection).Q
    rows = orthonormal_columns(projection.double())
    right, values, left = torch.linalg.svd(rows.upper, full_matrices=False)
    kept = min(rank, numerical_rank(values))
    turn = (rows.turn @ right[:, :kept]).T
    return Spectrum(basis.double(), left[:kept].T, values[:kept], turn, rows.matrix.T)
