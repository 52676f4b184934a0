"""Which method when: what the app says to somebody who has to choose, in the order in which to try. No torch here.

Each line is advice for one situation; what was measured on our own adapters stands in docs/benchmarks.md.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """What to do in one situation.

    Attributes:
        situation: as a person would say it, without a full stop.
        methods: names in METHODS, the first to try first.
        why: one or two sentences.
    """

    situation: str
    methods: tuple[str, ...]
    why: str


ADVICE: tuple[Advice, ...] = (
    Advice(
        "You do not know yet",
        ("task_arithmetic",),
        "The exact weighted sum: nothing is approximated, and what you try on this page is what you get. "
        "Move the weights until the preview answers well.",
    ),
    Advice(
        "The adapters do much the same (cosine above 0.3)",
        ("linear", "model_stock"),
        "An average; shares that sum to 1 keep the strength of one adapter.",
    ),
    Advice(
        "Two adapters, and you want a point between them",
        ("slerp", "nuslerp"),
        "Goes from one to the other without losing strength halfway, as a straight average does.",
    ),
    Advice(
        "They disturb each other (cosine below 0, or many opposed signs)",
        ("ties", "dare_ties"),
        "Small entries go and each entry follows the majority. It changes more than a sum does: compare the result "
        "with its parents before you trust it.",
    ),
    Advice(
        "One skill is to go",
        ("task_arithmetic",),
        "Give that adapter a negative weight.",
    ),
)
