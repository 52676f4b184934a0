"""The largest singular values of a dense matrix by subspace iteration, with only as many rounds as the matrix needs.

Fine-tuned weights have spectra that fall slowly: a fixed number of rounds is too few for some modules and a waste for
others. Here the energy that is not captured, which is known exactly, is looked at after each round.
"""

import torch
from torch import Tensor

from merging.lowrank import Spectrum, numerical_rank, rank_for_energy

EXTRA = 16  # columns that are projected beyond the wanted ones, and dropped
MOST_ROUNDS = 10
SETTLED = 0.004  # rounds end when all further ones together would lower the error by less than this share
FIRST_RANK = 16  # where a search for an energy starts


def squared_norm(matrix: Tensor) -> float:
    """‖matrix‖² of a float32 matrix, summed in float64 over its rows without a float64 copy of it."""
    return float(torch.linalg.vector_norm(matrix, dim=1).double().square().sum())


def largest(matrix: Tensor, rank: int, generator: torch.Generator, *, total: float) -> Spectrum:
    """The `rank` largest singular values and vectors (Halko et al. 2011, algorithms 4.3 and 4.4, section 4.3).

    After a round with basis Q the error is √(‖M‖² − Σσ(QᵀM)²) exactly. It falls geometrically from round to round, so
    three errors tell what is left to gain; measured, the result is within 1 % of the best error.

    Args:
        matrix: (m, n) float32.
        rank: how many are wanted; fewer come back where the matrix has fewer.
        generator: draws the first projection.
        total: ‖matrix‖².
    """
    width = rank + EXTRA
    if 2 * width >= min(matrix.shape):
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        kept, whole = min(rank, numerical_rank(values)), torch.eye(len(values), dtype=torch.float64)
        return Spectrum(left.double(), whole, values.double(), whole, right.double()).cut(kept)
    basis = torch.linalg.qr(matrix @ torch.randn(matrix.shape[1], width, generator=generator)).Q
    rows, small = torch.linalg.qr(matrix.T @ basis)
    errors = [_error(small, rank, total)]
    while len(errors) <= MOST_ROUNDS and not _has_settled(errors):
        basis = torch.linalg.qr(matrix @ rows).Q
        rows, small = torch.linalg.qr(matrix.T @ basis)
        errors.append(_error(small, rank, total))
    left, values, right = torch.linalg.svd(small.double().T, full_matrices=False)
    spectrum = Spectrum(basis.double(), left, values, right, rows.double().T)
    return spectrum.cut(min(rank, numerical_rank(values)))


def _error(small: Tensor, rank: int, total: float) -> float:
    """What a cut to `rank` loses with the basis whose projection has the triangular factor `small`."""
    small = small.double()
    squares = torch.linalg.eigvalsh(small @ small.T)  # rising
    return max(0.0, total - float(squares[-rank:].sum())) ** 0.5


def _has_settled(errors: list[float]) -> bool:
    """Whether g + gρ + gρ² + …, the gains still to come by the last two gains, are too small to matter."""
    if len(errors) < 3:
        return False
    before, last = errors[-3] - errors[-2], errors[-2] - errors[-1]
    if last <= 0:
        return True
    return last < before and last * last / (before - last) <= SETTLED * errors[-1]


def for_energy(matrix: Tensor, energy: float, most: int, generator: torch.Generator, *, total: float) -> Spectrum:
    """As few singular values as hold this share of ‖matrix‖², but at most `most`."""
    most = min(most, *matrix.shape)
    rank = min(FIRST_RANK, most)
    spectrum = largest(matrix, rank, generator, total=total)
    while rank < most and float(spectrum.values.square().sum()) < energy * total:
        rank = min(most, 2 * rank)
        spectrum = largest(matrix, rank, generator, total=total)
    needed = rank_for_energy(spectrum.values, energy, total) if spectrum.rank else 0
    return spectrum.cut(needed)
