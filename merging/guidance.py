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


DEFAULT_METHOD = "tsv"  # within the noise of the best in docs/benchmarks.md, "Does merging work?", with nothing to set

ADVICE: tuple[Advice, ...] = (
    Advice(
        "You do not know yet",
        (DEFAULT_METHOD, "linear"),
        "Of 55 ways to make one model of five small adapters, none kept measurably more of what they had learned than "
        "tsv, and linear came close; peft's own averaging kept next to nothing. A voice that one adapter alone has "
        "(the pirate's) got lost in every merge at equal weights: look at the answers, and give that one more weight.",
    ),
    Advice(
        "You want to turn the weights and hear at once what comes out",
        ("task_arithmetic", "linear"),
        "The exact weighted sum is what the preview on this page answers with. With several adapters at full weight "
        "the sum goes too far: a lambda of 0.2 to 0.4 was better than 0.6 or 1 for five.",
    ),
    Advice(
        "Two adapters, and you want a point between them",
        ("slerp", "nuslerp"),
        "Goes from one to the other without losing strength halfway, as a straight average does.",
    ),
    Advice(
        "They disturb each other (many opposed signs)",
        ("ties", "breadcrumbs_ties"),
        "Small entries go and each entry follows the majority. In space delta it was as good as tsv within the noise, "
        "in core a little worse; random thinning (dare_ties) was no help. breadcrumbs_ties, which drops the most "
        "extreme entries too, was as good in the spaces compressed and knots, and poor in core.",
    ),
    Advice(
        "One skill is to go",
        ("task_arithmetic",),
        "Give that adapter a negative weight.",
    ),
)
