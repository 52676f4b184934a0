"""Choosing a method: the list by family, and the folded answer to "Which method should I use?"."""

from collections.abc import Sequence

from medley.ui import markup
from merging import METHODS
from merging.guidance import ADVICE

FAMILIES = {  # in the order of the list
    "exact": "exact sum",
    "spectral": "by directions",
    "elementwise": "entry by entry",
    "concat": "exact, rank adds up",
    "factor": "approximate",
}
SPACE_WORDS = {
    "core": "core: fast, in the shared directions",
    "delta": "delta: entry by entry, as in the papers",
    "knots": "knots: shared rows, columns as they are",
    "compressed": "compressed: as many directions as the rank",
}
LEARN_WEIGHTS = (
    "A few hundred of them can choose the weights, in a terminal by <code>medley learn-weights</code>; it measures "
    "plain weights beside the learned ones."
)
DEFAULT_SPACE, NO_SPACE = "core", "as they are: the exact sum"


def space_choices(method: str) -> list[tuple[str, str]]:
    """Where the method can look at deltas, in words; a plain sum looks nowhere unless they are compressed first."""
    row = METHODS[method]
    choices = [(SPACE_WORDS.get(space, space), space) for space in row.spaces]
    return choices if DEFAULT_SPACE in row.spaces else [(NO_SPACE, DEFAULT_SPACE), *choices]


def space_for(method: str, space: str) -> str:
    """The space if the method can be used there, or else the one to begin with."""
    return space if space in METHODS[method].spaces else DEFAULT_SPACE


def family_words(method: str) -> str:
    """What kind of method it is, in two or three words."""
    return FAMILIES.get(METHODS[method].family, METHODS[method].family)


def method_choices() -> list[tuple[str, str]]:
    """What the list shows and the method's name; families together, so that typing "exact" finds all of one."""
    order = list(FAMILIES)
    known = sorted(METHODS, key=lambda name: order.index(METHODS[name].family) if METHODS[name].family in order else 99)
    return [(f"{name} · {family_words(name)}", name) for name in known]


def guide_html() -> str:
    """Situations with what to try in each, folded."""
    items = "".join(
        f"<dt>{markup.escape(advice.situation)}: {_names(advice.methods)}</dt><dd>{markup.escape(advice.why)}</dd>"
        for advice in ADVICE
    )
    items += f"<dt>You have rows of what it should do</dt><dd>{LEARN_WEIGHTS}</dd>"
    return f'<details class="m-guide"><summary>Which method should I use?</summary><dl>{items}</dl></details>'


def _names(methods: Sequence[str]) -> str:
    return " or ".join(f"<code>{markup.escape(name)}</code>" for name in methods)


def method_html(method: str) -> str:
    """When to use the method, and its paper."""
    row = METHODS[method]
    paper = markup.escape(row.paper)
    return f"<p>{markup.escape(row.when)}</p><p class='m-quiet'>{markup.escape(family_words(method))} · {paper}</p>"
