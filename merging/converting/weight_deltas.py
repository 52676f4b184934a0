"""What adapters of other kinds add to a weight W (m, n), as peft 0.21 defines them: factors where the rank is low.

Everything is float32 in and out; the dtypes of files are left behind before. Tensors are named as in peft's files.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from medley.lm.adapter_tensors import Factors
from merging.converting.kinds import block_size

Parts = Mapping[str, Tensor]


def lora(parts: Parts, scale: float) -> Factors:
    """s·B·A (Hu et al. 2021, 2106.09685)."""
    return parts["lora_B.weight"] * scale, parts["lora_A.weight"]


def loha(parts: Parts, scale: float) -> Factors:
    """s·(B₁A₁) ⊙ (B₂A₂) (Hyeon-Woo et al. 2021, 2108.06098) as factors of rank r².

    Entry (x, y) is Σᵢⱼ B₁[x,i]·B₂[x,j] · A₁[i,y]·A₂[j,y]: the rows of both B, and the columns of both A, multiplied
    pairwise.
    """
    b = torch.einsum("xi,xj->xij", parts["hada_w1_a"], parts["hada_w2_a"]).flatten(1)
    a = torch.einsum("iy,jy->ijy", parts["hada_w1_b"], parts["hada_w2_b"]).flatten(0, 1)
    return b * scale, a


def lokr(parts: Parts, scale: float) -> Factors:
    """s·(C ⊗ D) (Yeh et al. 2023, 2309.14859) as factors of rank r(C)·r(D), since (BA) ⊗ (B'A') = (B⊗B')(A⊗A')."""
    (b1, a1), (b2, a2) = _halves(parts, "lokr_w1"), _halves(parts, "lokr_w2")
    return torch.kron(b1, b2) * scale, torch.kron(a1, a2)


def _halves(parts: Parts, name: str) -> Factors:
    """The factors of one Kronecker operand; an operand that is stored whole is its own factor, beside a unit matrix."""
    if name not in parts:
        return parts[f"{name}_a"], parts[f"{name}_b"]
    whole = parts[name]
    rows, columns = whole.shape
    return (whole, torch.eye(columns)) if columns <= rows else (torch.eye(rows), whole)


def adalora(parts: Parts, scale: float) -> Factors:
    """s·B·diag(e)·A (Zhang et al. 2023, 2303.10512)."""
    return parts["lora_B"] * scale, parts["lora_E"] * parts["lora_A"]


def vera(parts: Parts, scale: float) -> Factors:
    """diag(b)·B·diag(d)·A (Kopiczko et al. 2023, 2310.11454); B and A are shared, and cut to this module's size."""
    return parts["vera_lambda_b"][:, None] * parts["vera_B"] * scale, parts["vera_lambda_d"][:, None] * parts["vera_A"]


def dora(parts: Parts, scale: float, weight: Tensor) -> Tensor:
    """m·(W + sBA)/‖W + sBA‖ − W with the norms of the rows, one for each output (Liu et al. 2024, 2402.09353)."""
    trained = weight + (parts["lora_B.weight"] * scale) @ parts["lora_A.weight"]
    stretch = parts["lora_magnitude_vector"] / torch.linalg.vector_norm(trained, dim=1)
    return trained.mul_(stretch[:, None]).sub_(weight)


def ia3(parts: Parts, scale: float, weight: Tensor) -> Tensor:
    """W ⊙ l − W: l scales the inputs (1, n) of a feed-forward layer, else the outputs (m, 1) (Liu et al. 2022)."""
    return weight * (parts["ia3_l"] - 1)


def oft(parts: Parts, scale: float, weight: Tensor) -> Tensor:
    """W·Rᵀ − W, with R block-diagonal (Qiu et al. 2023, 2306.07280).

    R = I + 2Q + 2Q² + 2Q³ + Q⁴ for a skew-symmetric Q: peft's default, five terms of the Cayley transform.
    """
    triangle = parts["oft_R.weight"]
    size = block_size(triangle.shape[1])
    rows, columns = torch.triu_indices(size, size, 1)
    q = triangle.new_zeros(len(triangle), size, size)
    q[:, rows, columns] = triangle
    q = q - q.mT
    square = q @ q
    turned = 2 * q + 2 * square + 2 * square @ q + square @ square  # R − I
    pieces = weight.unflatten(1, (-1, size))
    return torch.einsum("mks,kts->mkt", pieces, turned.expand(pieces.shape[1], -1, -1)).flatten(1)
