"""What a training will need, before it starts: memory with its parts as a bar, steps and time; and whether it fits."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medley.jobs import train_spec, training_estimate
from medley.jobs.estimate import IMPORT_BYTES, check_can_fit
from medley.jobs.memory import total_memory
from medley.ui import markup
from medley.ui.numbers import count_text, duration_text, size_text
from medley.ui.workspace import Workspace, attempt

if TYPE_CHECKING:
    from trainers.estimate import Estimate

TIGHT_SHARE = 0.8  # of the machine's memory; above it other programs will feel it
LIBRARIES = "libraries"
NAME = "estimate"  # stands for the name that need not be chosen yet
SHADES = 8


def estimate_parts(workspace: Workspace, recipe: Mapping[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    """The memory that a recipe's run needs, or what would fit where it is too much, and facts about its length.

    Raises:
        ProblemsError, BaseModelError: what is wrong with it, or why nothing is known yet.
    """
    trainer, options = recipe["trainer"], recipe["options"]
    inputs = {"base": recipe["base"] or None, "data": recipe["data"], "init": recipe.get("from")}
    found = training_estimate(workspace.registry, trainer, **inputs, options=options)
    unchecked = {**options, "check_memory": False}
    spec = train_spec(workspace.registry, trainer, **inputs, name=NAME, options=unchecked)
    refused = attempt(lambda: check_can_fit(workspace.registry, spec))[1]
    return refused + memory_bar(found, total_memory(spec.params["device"])), _facts(found)


def memory_bar(found: "Estimate", has_bytes: int | None) -> str:
    """The parts of the peak as one bar with its legend, and how much of the machine they take."""
    parts = {LIBRARIES: round(IMPORT_BYTES), **found.parts}
    total = sum(parts.values())
    largest = sorted(((name, size) for name, size in parts.items() if size), key=lambda part: -part[1])
    pieces = "".join(
        f'<i class="m-shade-{i % SHADES}" style="width:{100 * size / total:.1f}%" '
        f'title="{markup.escape(name)}: {size_text(size)}"></i>'
        for i, (name, size) in enumerate(largest)
    )
    legend = "".join(
        f'<li><i class="m-shade-{i % SHADES}"></i>{markup.escape(name)} <b>{size_text(size)}</b></li>'
        for i, (name, size) in enumerate(largest)
    )
    of = f" of {size_text(has_bytes)}" if has_bytes else ""
    label = f"About {size_text(total)}{of}"
    summary = f"{label}: " + ", ".join(f"{name} {size_text(size)}" for name, size in largest)
    return (
        f'<p class="m-gap"><b>{label}</b> of memory at the peak {_fit_chip(total, has_bytes)}</p>'
        f'<div class="m-stack" role="img" aria-label="{markup.escape(summary)}">{pieces}</div>'
        f'<ul class="m-parts">{legend}</ul>'
    )


def _fit_chip(total: float, has_bytes: int | None) -> str:
    if has_bytes is None:
        return ""
    if total > has_bytes:
        return markup.chip("does not fit", "bad")
    return markup.chip("tight", "warn") if total > TIGHT_SHARE * has_bytes else markup.chip("fits", "good")


def _facts(found: "Estimate") -> list[tuple[str, str]]:
    return [
        ("Steps", count_text(found.steps)),
        ("Longest row", f"about {count_text(found.longest_row)} tokens"),
        ("Time", f'<span title="{markup.escape(found.basis)}">{markup.escape(time_text(found.seconds))}</span>'),
    ]


def time_text(seconds: tuple[float, float] | None) -> str:
    """A likely range: "1 min to 4 min"; words where nothing is known of the machine's speed."""
    if seconds is None:
        return "not known for this device"
    low, high = (duration_text(each) for each in seconds)
    return f"about {low}" if low == high else f"{low} to {high}"
