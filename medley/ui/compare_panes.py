"""Which adapters answer in which pane: between the controls, the address and what the engine is asked for."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from medley.errors import ParameterError, UserError
from medley.ui import markup
from medley.ui.workspace import Workspace

MAX_PANES, MAX_BLENDED = 4, 4
BASE = "base"
Blend = list[tuple[str, float]]  # adapters of a pane with their weights; [] is the base itself


def from_address(workspace: Workspace, text: str) -> tuple[list[Blend], str]:
    """The panes that the address asks for, and a sentence about those that mean nothing here.

    Without any: the base beside the newest adapter.
    """
    from medley.jobs import parse_pane

    if not text:
        newest = workspace.names("adapter")[:1]
        return [[], [(newest[0], 1.0)] if newest else []], "" if newest else _nothing_to_compare()
    panes, problems = [], []
    for part in text.split(",")[:MAX_PANES]:
        try:
            blend = parse_pane(part.replace(" ", "+"))  # a plus in an address arrives as a space
            if len(blend) > MAX_BLENDED:
                raise ParameterError(f"A pane blends at most {MAX_BLENDED} adapters, but {part!a} has {len(blend)}.")
            for reference, _ in blend:
                workspace.version(reference, "adapter")
            panes.append(blend)
        except UserError as error:
            problems.append(str(error))
    return panes or [[], []], "".join(markup.notice("bad", problem) for problem in problems)


def _nothing_to_compare() -> str:
    return markup.notice("plain", "There are no adapters yet, so every pane answers with the base model itself.")


def show(workspace: Workspace, panes: Sequence[Blend]) -> list[Any]:
    """Values for the count, and for each card its column, adapters, fold and sliders."""
    names = workspace.names("adapter")
    values: list[Any] = [len(panes)]
    for index in range(MAX_PANES):
        blend = panes[index] if index < len(panes) else []
        chosen = [reference for reference, _ in blend]
        choices = [*names, *(each for each in chosen if each not in names)]
        values += [gr.Column(visible=index < len(panes)), gr.Dropdown(choices, value=chosen)]
        values += show_weights(chosen, [weight for _, weight in blend])
    return values


def show_columns(count: int) -> list[Any]:
    """As many columns as there are panes."""
    return [gr.Column(visible=index < count) for index in range(MAX_PANES)]


def show_weights(adapters: Sequence[str] | None, weights: Sequence[float] | None = None) -> list[Any]:
    """The fold and its sliders, one named after each adapter; several adapters begin with equal shares."""
    adapters = adapters or []
    default = round(1 / len(adapters), 2) if len(adapters) > 1 else 1.0
    sliders = [
        gr.Slider(label=adapters[i], visible=True, value=weights[i] if weights else default)
        if i < len(adapters)
        else gr.Slider(label=f"Weight {i + 1}", visible=False)
        for i in range(MAX_BLENDED)
    ]
    return [gr.Accordion(visible=bool(adapters)), *sliders]


def read(chosen: Sequence[Any]) -> list[Blend]:
    """The panes from the values of count, and of each card's adapters and sliders."""
    count, *rest = chosen
    panes = []
    for index in range(int(count)):
        adapters, *weights = rest[index * (1 + MAX_BLENDED) : (index + 1) * (1 + MAX_BLENDED)]
        panes.append([(name, float(weight)) for name, weight in zip(adapters or [], weights, strict=False)])
    return panes


def pane_text(blend: Blend) -> str:
    """A pane as a user writes it: "base", "pirate", "pirate=0.6+lists=0.4"."""
    if not blend:
        return BASE
    if len(blend) == 1 and blend[0][1] == 1:
        return blend[0][0]
    return "+".join(f"{name}={weight:g}" for name, weight in blend)


def to_text(*chosen: Any) -> str:
    """All panes, for the address."""
    return ",".join(pane_text(blend) for blend in read(chosen))
