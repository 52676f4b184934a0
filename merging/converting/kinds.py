"""The kinds of adapter that a LoRA can stand for: their tensors, and the sizes of their deltas. No torch here.

To add one: a row in KINDS, its function in weight_deltas.py, and its line in FACTORS or DENSE (run.py).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Kind:
    """A kind of adapter that can become a LoRA.

    Attributes:
        word: for people.
        parts: how the names of its tensors end.
        sizes: the delta's (m, n) and largest rank from the parts' shapes; 0 is a side that only the base knows.
            Raises KeyError or ValueError where the shapes do not fit together.
        has_full_rank: True where the delta depends on the weight it is added to.
        has_alpha: True where it is scaled by alpha / r.
        shared: tensors that all modules share, cut to a module's size; without the base that size is not known.
    """

    word: str
    parts: tuple[str, ...]
    sizes: Callable[[Shapes], tuple[tuple[int, int], int]]
    has_full_rank: bool = False
    has_alpha: bool = False
    shared: tuple[str, ...] = ()

    @property
    def needs_base(self) -> bool:
        return self.has_full_rank or bool(self.shared)


def _same(*values: int) -> int:
    if len(set(values)) != 1:
        raise ValueError
    return values[0]


def _lora_sizes(shapes: Shapes) -> tuple[tuple[int, int], int]:
    (m, r), (r2, n) = shapes["lora_B.weight"], shapes["lora_A.weight"]
    return (m, n), _same(r, r2)


def _dora_sizes(shapes: Shapes) -> tuple[tuple[int, int], int]:
    (m, n), rank = _lora_sizes(shapes)
    (length,) = shapes["lora_magnitude_vector"]
    return (_same(m, length), n), rank


def _loha_sizes(shapes: Shapes) -> tuple[tuple[int, int], int]:
    (m, r), (r2, n) = shapes["hada_w1_a"], shapes["hada_w1_b"]
    (m3, r3), (r4, n4) = shapes["hada_w2_a"], shapes["hada_w2_b"]
    return (_same(m, m3), _same(n, n4)), _same(r, r2, r3, r4) ** 2


def _lokr_sizes(shapes: Shapes) -> tuple[tuple[int, int], int]:
    halves = []
    for name in ("lokr_w1", "lokr_w2"):
        if name in shapes:
            rows, columns = shapes[name]
            halves.append((rows, columns, min(rows, columns)))
        else:
            (rows, rank), (rank2, columns) = shapes[f"{name}_a"], shapes[f"{name}_b"]
            halves.append((rows, columns, _same(rank, rank2)))
    (rows, columns, rank), (rows2, columns2, rank2) = halves
    return (rows * rows2, columns * columns2), rank * rank2


def _ia3_sizes(shapes: Shapes) -> tuple[tuple[int, int], int]:
    """0 stands for the side that only the base knows."""
    m, n = shapes["ia3_l"]
    if m != 1 and n != 1:
        raise ValueError
    return (0 if m == 1 else m, 0 if n == 1 else n), 0


def _adalora_sizes(shapes: Shapes) -> tuple[tuple[int, int], int]:
    (m, r), (r2, n), (r3, one) = shapes["lora_B"], shapes["lora_A"], shapes["lora_E"]
    _same(one, 1)
    return (m, n), _same(r, r2, r3)


def _vera_sizes(shapes: Shapes) -> tuple[tuple[int, int], int]:
    (m,), (r,) = shapes["vera_lambda_b"], shapes["vera_lambda_d"]
    (most, r2), (r3, _) = shapes["vera_B"], shapes["vera_A"]
    if m > most:
        raise ValueError
    return (m, 0), _same(r, r2, r3)


def _oft_sizes(shapes: Shapes) -> tuple[tuple[int, int], int]:
    blocks, elements = shapes["oft_R.weight"]
    size = block_size(elements)
    if size * (size - 1) != 2 * elements:
        raise ValueError
    return (0, 0 if blocks == 1 else blocks * size), 0  # one block may be shared by the whole row


def block_size(elements: int) -> int:
    """The size of a skew-symmetric matrix that is stored as its upper triangle."""
    return (1 + math.isqrt(1 + 8 * elements)) // 2


LORA_PARTS = ("lora_A.weight", "lora_B.weight")
HADA_PARTS = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
KRON_PARTS = tuple(f"lokr_w{number}{end}" for number in (1, 2) for end in ("", "_a", "_b"))
KINDS = {  # AdapterConfig.kind -> what is known of it
    "lora": Kind("LoRA", LORA_PARTS, _lora_sizes),
    "dora": Kind("DoRA", (*LORA_PARTS, "lora_magnitude_vector"), _dora_sizes, has_full_rank=True),
    "loha": Kind("LoHa", HADA_PARTS, _loha_sizes, has_alpha=True),
    "lokr": Kind("LoKr", KRON_PARTS, _lokr_sizes, has_alpha=True),
    "adalora": Kind("AdaLoRA", ("lora_A", "lora_B", "lora_E"), _adalora_sizes),
    "vera": Kind("VeRA", ("vera_lambda_b", "vera_lambda_d"), _vera_sizes, shared=("vera_A", "vera_B")),
    "oft": Kind("OFT", ("oft_R.weight",), _oft_sizes, has_full_rank=True),
    "ia3": Kind("IA3", ("ia3_l",), _ia3_sizes, has_full_rank=True),
}
