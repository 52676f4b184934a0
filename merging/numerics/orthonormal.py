"""Orthonormal columns of a tall matrix, by way of its small Gram matrix where that is accurate.

Householder QR touches an m x R matrix some R times; its Gram matrix needs one product, and everything after it is
R x R (CholeskyQR: Yamamoto et al. 2015, doi:10.1553/etna_vol44s306). The price is an error that grows with the square
of the condition number. Columns are therefore scaled to length 1 first, so that adapters of very different size are no
trouble, and where the condition is bad all the same, Householder QR is what is used.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

WORST_CONDITION = 1e3  # at which the columns are orthonormal to 1e-10, far below what counts as rounding of the inputs


@dataclass(frozen=True)
class Orthonormal:
    """A matrix X as Q·upper, with Q kept as the product matrix · turn, because seldom all of Q is needed.

    Attributes:
        matrix: (m, p) float64, X itself or Householder's Q.
        turn: (p, k); matrix @ turn has orthonormal columns.
        upper: (k, R) with matrix @ turn @ upper = X.
    """

    matrix: Tensor
    turn: Tensor
    upper: Tensor


def orthonormal_columns(tall: Tensor) -> Orthonormal:
    """Q and the upper factor of a matrix (m, R) in float64; Q has min(m, R) columns."""
    factor = _from_gram(tall.T @ tall)
    if factor is not None:
        return Orthonormal(tall, factor[1], factor[0])
    basis, upper = torch.linalg.qr(tall)
    return Orthonormal(basis, torch.eye(basis.shape[1], dtype=basis.dtype), upper)


def _from_gram(gram: Tensor) -> tuple[Tensor, Tensor] | None:
    """(U, U⁻¹) with XᵀX = UᵀU; None where X is too near to dependent columns.

    ‖U‖·‖U⁻¹‖ in the Frobenius norm bounds the condition number of the scaled X from above.
    """
    lengths = gram.diagonal().sqrt()
    if not bool((lengths > 0).all()):
        return None
    lower, failed = torch.linalg.cholesky_ex(gram / lengths / lengths[:, None])
    if int(failed):
        return None
    inverse = torch.linalg.solve_triangular(lower, torch.eye(len(lower), dtype=gram.dtype), upper=False)
    condition = float(torch.linalg.matrix_norm(lower)) * float(torch.linalg.matrix_norm(inverse))
    if not condition <= WORST_CONDITION * len(lower) ** 0.5:
        return None
    return lower.T * lengths, inverse.T / lengths[:, None]
