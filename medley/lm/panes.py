"""What a comparison asks for and what it gets: panes, their growing answers, their whole answers. Plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from medley.lm.prompts import Message

Weight = float | Mapping[str, float]  # of one adapter; by module, those that are not named have weight 0
Blend = Mapping[str, Weight]  # adapter key -> weight


@dataclass(frozen=True)
class Pane:
    """One answer asked for: a conversation, and the adapters' weights that answer it.

    Attributes:
        messages: the conversation, oldest first.
        blend: adapter key -> weight, or its weights module by module; empty, or all zero, is the base itself.
    """

    messages: tuple[Message, ...]
    blend: Blend = field(default_factory=dict)


@dataclass(frozen=True)
class PaneUpdate:
    """What one pane has to say now.

    Attributes:
        pane: its index.
        text: new since the last update; may be empty.
        is_done: True in a pane's last update.
        finish_reason: "" until then; "stop" (it ended its turn), "length" (its limit) or "stopped" (by the caller).
        new_tokens: tokens so far, the one that ends the turn included.
        tokens_per_s: of this pane, the reading of the prompt included.
        blend: the keys and weights that produced it, without zeros.
    """

    pane: int
    text: str
    is_done: bool
    finish_reason: str
    new_tokens: int
    tokens_per_s: float
    blend: Blend


@dataclass(frozen=True)
class Completion:
    """A whole answer; fields as in `PaneUpdate`."""

    text: str
    finish_reason: str
    new_tokens: int
    tokens_per_s: float
    blend: Blend
