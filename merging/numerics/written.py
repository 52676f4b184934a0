"""How far the factors in a file are from what they stand for: the cut and the cast, measured without a dense delta."""

import math

import torch
from torch import Tensor

from merging.numerics.lowrank import Factors, Spectrum, norm, stack
from merging.numerics.row_blocks import is_zero

CANNOT_SHOW = 1e-6  # a share of an error's square that no reported digit shows
LITTLE_LEFT = 0.1  # a sum below this share of its summands loses digits in float32


def distance(exact: Factors, written: Factors) -> float:
    """‖B₁A₁ − B₂A₂‖, through the R x R problem of [B₁ −B₂][A₁; A₂]."""
    b, a = stack([exact, written], [1.0, -1.0])
    left, right = torch.linalg.qr(b).R, torch.linalg.qr(a.T).R
    return float(torch.linalg.matrix_norm(left @ right.T))


def rounding(exact: Factors, written: Factors) -> float:
    """‖B₁A₁ − B₂A₂‖ of the same factors before and after a cast.

    It is ‖(B₁ − B₂)·A₁ + B₂·(A₁ − A₂)‖, so that no two large numbers are subtracted; where the cast moved nothing on
    one side, that half falls away.
    """
    moved_b, moved_a = _moved(exact[0], written[0]), _moved(exact[1], written[1])
    left = [] if is_zero(moved_b) else [(moved_b, exact[1].float())]
    right = [] if is_zero(moved_a) else [(written[0].float(), moved_a)]
    if not left and not right:
        return 0.0
    sides = list(zip(*left, *right, strict=True))
    b, a = torch.cat(sides[0], dim=1), torch.cat(sides[1])
    return math.sqrt(max(0.0, float(((b.T @ b).double() * (a @ a.T).double()).sum())))


def _moved(exact: Tensor, written: Tensor) -> Tensor:
    """What the cast moved, subtracted before it is rounded to float32."""
    return (exact - written.to(exact.dtype)).float()


def norm_and_rounding(exact: Factors, written: Factors) -> tuple[float, float]:
    """‖B₁A₁‖, and `rounding` of the same, where both are wanted and only B moved: they share A's Gram matrix.

    Float32 is enough, unless the adapters cancel so far that nine tenths of what is summed disappear.
    """
    moved_b, moved_a = _moved(exact[0], written[0]), _moved(exact[1], written[1])
    if not is_zero(moved_a):
        return norm(exact), rounding(exact, written)
    a = exact[1].float()
    gram_a = (a @ a.T).double()
    return _norm(exact, gram_a), 0.0 if is_zero(moved_b) else _norm((moved_b, a), gram_a)


def _norm(delta: Factors, gram_a: Tensor) -> float:
    """`norm` of a delta, by way of float32 where that is enough."""
    b = delta[0].float()
    squares = (b.T @ b).double() * gram_a
    total = float(squares.sum())
    return math.sqrt(total) if total > LITTLE_LEFT * float(squares.abs().sum()) else norm(delta)


def written_error(exact: Spectrum, cut: Factors, written: Factors) -> float:
    """‖exact − written‖, where `cut` is `exact.factors(rank)` and `written` the same cast to the dtype of the file.

    What was cut off is at right angles to what was kept, and to what either cast alone moved. Only what both casts
    moved together can lean towards it, by so little that it is left out where it cannot show.
    """
    rank = cut[0].shape[1]
    kept, lost = exact.values[:rank], exact.values[rank:]
    moved_b, moved_a = _moved(cut[0], written[0]), _moved(cut[1], written[1])
    square = float(lost.square().sum()) + _cast_square(kept, cut[1], written[0], (moved_b, moved_a))
    most = 2 * float(lost.norm()) * float(moved_b.norm()) * float(moved_a.norm())
    if most > CANNOT_SHOW * square:
        left = (moved_b.double().T @ exact.left_basis) @ exact.left_turn[:, rank:]
        right = exact.right_turn[rank:] @ (exact.right_basis @ moved_a.double().T)
        square -= 2 * float((left * lost * right.T).sum())
    return math.sqrt(max(0.0, square))


def _cast_square(values: Tensor, a: Tensor, written_b: Tensor, moved: Factors) -> float:
    """‖B·A − B'·A'‖² = ‖(B − B')·A + B'·(A − A')‖², where the rows of A are at right angles, of squared lengths σ."""
    (moved_b, moved_a), b = moved, written_b.float()
    by_b = values @ moved_b.square().sum(0).double()
    by_both = ((moved_b.T @ b) * (a.float() @ moved_a.T)).double().sum()
    by_a = ((b.T @ b) * (moved_a @ moved_a.T)).double().sum()
    return float(by_b + 2 * by_both + by_a)
