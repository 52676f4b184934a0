"""What to change so that a training fits into memory, each with the peak that it would have. No torch."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainers.estimate import Estimate

SHORTEST = 64  # tokens; a shorter max_length is no advice
EstimateOf = Callable[[Any], Estimate]  # of options


@dataclass(frozen=True)
class Advice:
    """One way to need less memory.

    Attributes:
        changes: option -> value.
        total_bytes: the peak with them.
    """

    changes: Mapping[str, Any]
    total_bytes: int


def advise(estimate_of: EstimateOf, options: Any, limit_bytes: float, *, has_nf4: bool = True) -> list[Advice]:
    """What would make it fit, gentlest first; where nothing alone is enough, everything at once, if that is.

    Args:
        estimate_of: the estimate for changed options.
        options: the trainer's options as they are.
        limit_bytes: the memory there is.
        has_nf4: whether the device runs 4-bit bases.
    """
    ladders = [
        list(_smaller_batches(options)),
        list(_shorter_rows(options, estimate_of(options).longest_row)),
        [{"quant": "4bit"}] if has_nf4 and getattr(options, "quant", "4bit") != "4bit" else [],
        [{"gradient_checkpointing": True}] if not getattr(options, "gradient_checkpointing", True) else [],
    ]
    found = [_first_that_fits(estimate_of, options, ladder, limit_bytes) for ladder in ladders]
    if any(found):
        return [advice for advice in found if advice is not None]
    whole = {name: value for ladder in ladders if ladder for name, value in ladder[-1].items()}
    together = _first_that_fits(estimate_of, options, [whole], limit_bytes) if whole else None
    return [together] if together else []


def _first_that_fits(
    estimate_of: EstimateOf, options: Any, ladder: list[dict[str, Any]], limit_bytes: float
) -> Advice | None:
    for changes in ladder:
        total = estimate_of(dataclasses.replace(options, **changes)).total_bytes
        if total <= limit_bytes:
            return Advice(changes, total)
    return None


def _smaller_batches(options: Any) -> Iterator[dict[str, Any]]:
    """Halved again and again, with as many more forward passes for a step, so that the run learns the same.

    What PPO writes at once is its batch; where reading fewer answers at once is not enough, the batch is halved too.
    """
    factor = 2
    if hasattr(options, "rows_at_once"):
        rows = options.rows_at_once or -(-options.batch_size // options.mini_batches)
        while rows >= factor:
            yield {"rows_at_once": rows // factor}
            factor *= 2
        rows = options.batch_size // 2
        while rows and rows % options.mini_batches == 0:
            yield {"batch_size": rows, "rows_at_once": 1}
            rows //= 2
        return
    while options.batch_size % factor == 0:
        yield {
            "batch_size": options.batch_size // factor,
            "gradient_accumulation": options.gradient_accumulation * factor,
        }
        factor *= 2


def _shorter_rows(options: Any, longest_row: int) -> Iterator[dict[str, Any]]:
    """The powers of two below the longest row."""
    length = 1 << (longest_row - 1).bit_length() - 1
    while hasattr(options, "max_length") and length >= SHORTEST:
        yield {"max_length": length}
        length //= 2
