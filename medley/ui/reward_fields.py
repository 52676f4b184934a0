"""Choosing what a policy is rewarded for: functions of the visible table and reward models of the registry, weighted.

Three controls stand for one option: what is chosen, the pattern that one function needs, and the weights. They become
the words that the option, the command line and a recipe use: `sentiment`, `brevity=0.5`, `matches:^Yes`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medley.errors import ParameterError
from medley.options import Option
from trainers.reward_words import RewardTerm, parse_rewards
from trainers.rewards import REWARDS

WORDS = ("reward", "rewards")  # options whose value is a list of such words
WATCHED = ("gold_reward",)  # options whose value is such a list too, mostly empty or of one word
ADD_UP = "Tick one or more; they add up, each with its weight."
NEEDS_ARGUMENT = tuple(name for name, function in REWARDS.items() if function.needs)


@dataclass(frozen=True)
class RewardPicker:
    """The controls of one option of reward words, in the order in which handlers take them."""

    picks: gr.CheckboxGroup
    pattern: gr.Textbox
    weights: gr.Textbox

    @property
    def controls(self) -> list[gr.components.FormComponent]:
        return [self.picks, self.pattern, self.weights]


def is_reward_list(option: Option) -> bool:
    """Whether the option is a weighted sum of rewards."""
    return option.name in WORDS and option.type is tuple


def is_watched_reward(option: Option) -> bool:
    """Whether the option names a reward to watch, or none."""
    return option.name in WATCHED and option.type is tuple


def build_picker(option: Option, prefix: str) -> RewardPicker:
    """The three controls, filled from the option's default; reward models are offered once the page is loaded."""
    shown, argument, weights = split_words(option.default)
    picks = gr.CheckboxGroup(
        reward_choices(), value=shown, label="What is rewarded", info=ADD_UP, elem_id=f"{prefix}-{option.name}",
        elem_classes="m-choices",
    )  # fmt: skip
    with gr.Row(elem_classes="m-fields"):
        pattern = gr.Textbox(
            argument, label="Pattern", info="A regular expression for 'matches'.", placeholder="^Yes", max_lines=1,
            visible=any(name in shown for name in NEEDS_ARGUMENT),
        )  # fmt: skip
        line = gr.Textbox(
            weights, label="Weights", info="One number for each, in their order; a negative one punishes.",
            placeholder="1 each", max_lines=1, visible=len(shown) > 1,
        )  # fmt: skip
    picks.change(shown_fields, picks, [pattern, line], show_progress="hidden", api_visibility="private")
    return RewardPicker(picks, pattern, line)


def build_watched(option: Option, prefix: str) -> gr.Dropdown:
    """A dropdown of rewards; another word, such as `matches:^Yes` or `length=-1`, can be typed."""
    return gr.Dropdown(
        watched_choices(), value=list(option.default), multiselect=True, allow_custom_value=True, label="Gold reward",
        info=option.help, min_width=180, elem_id=f"{prefix}-{option.name}",
    )  # fmt: skip


def watched_choices(models: Sequence[str] = ()) -> list[str]:
    """The functions that need no argument, and reward models."""
    return [*(name for name in REWARDS if name not in NEEDS_ARGUMENT), *models]


def shown_fields(picks: Sequence[str]) -> list[Any]:
    """The pattern where it is needed, the weights where there is something to weigh."""
    return [
        gr.Textbox(visible=any(name in picks for name in NEEDS_ARGUMENT)),
        gr.Textbox(visible=len(picks) > 1),
    ]


def reward_choices(models: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The functions of the table with what each rewards, and reward models."""
    functions = [(f"{name}: {function.summary}", name) for name, function in REWARDS.items()]
    return [*functions, *((f"{name}: a reward model of the registry.", name) for name in models)]


def words_of(picks: Sequence[str] | None, pattern: str, weights: str) -> tuple[str, ...]:
    """The words that say what was chosen.

    Raises:
        ParameterError: a weight is missing, too much, or no number.
    """
    chosen = list(picks or ())
    numbers = _numbers(weights, len(chosen)) if len(chosen) > 1 else [1.0] * len(chosen)
    words = []
    for name, weight in zip(chosen, numbers, strict=True):
        argument = f":{(pattern or '').strip()}" if name in NEEDS_ARGUMENT else ""
        words.append(f"{name}{argument}" + (f"={weight:g}" if weight != 1 else ""))
    return tuple(words)


def _numbers(text: str, count: int) -> list[float]:
    parts = (text or "").replace(",", " ").split()
    if not parts:
        return [1.0] * count
    if len(parts) != count:
        raise ParameterError(f"{count} rewards are chosen, but {len(parts)} weights given. Write one each, or none.")
    try:
        return [float(part) for part in parts]
    except ValueError as error:
        raise ParameterError(f"The weights must be numbers, got {text.strip()!a}.") from error


def split_words(words: Sequence[str]) -> tuple[list[str], str, str]:
    """What the three controls show for reward words."""
    terms: list[RewardTerm] = parse_rewards(words) if words else []
    argument = next((term.argument for term in terms if term.argument), "")
    is_plain = all(term.weight == 1 for term in terms)
    weights = "" if is_plain else ", ".join(f"{term.weight:g}" for term in terms)
    return [term.name for term in terms], argument, weights
