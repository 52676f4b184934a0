"""The kinds of adapter that a LoRA can stand for: their tensors, and the sizes of their deltas. No torch here.

To add one: a row in KINDS, its function in weight_deltas.py, and its line in the table of convert.py.
"""

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
        needs_base: True where the delta depends on the weight it is added to, and so has full rank.
        has_alpha: True where it is scaled by alpha / r.
    """

    word: str
    parts: tuple[str, ...]
    sizes: Callable[[Shapes], tuple[tuple[int, int], int]]
    needs_base: bool = False
    has_alpha: bool = False


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


LORA_PARTS = ("lora_A.weight", "lora_B.weight")
HADA_PARTS = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
KRON_PARTS = tuple(f"lokr_w{number}{end}" for number in (1, 2) for end in ("", "_a", "_b"))
KINDS = {  # AdapterConfig.kind -> what is known of it
    "lora": Kind("LoRA", LORA_PARTS, _lora_sizes),
    "dora": Kind("DoRA", (*LORA_PARTS, "lora_magnitude_vector"), _dora_sizes, needs_base=True),
    "loha": Kind("LoHa", HADA_PARTS, _loha_sizes, has_alpha=True),
    "lokr": Kind("LoKr", KRON_PARTS, _lokr_sizes, has_alpha=True),
    "ia3": Kind("IA3", ("ia3_l",), _ia3_sizes, needs_base=True),
}
