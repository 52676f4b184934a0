"""Asking the panes and showing what they say as it comes. Model output is shown as plain text, never as markup."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gradio as gr

from medley.errors import ParameterError, ProblemsError, UserError
from medley.options import Option, describe
from medley.ui import compare_panes, markup
from medley.ui.answering import STREAMS, Answer, Answering
from medley.ui.compare_panes import MAX_PANES, Blend, pane_text
from medley.ui.controls import to_value
from medley.ui.numbers import plural
from medley.ui.workspace import Workspace, attempt, log

if TYPE_CHECKING:
    from medley.jobs.panes import OpenPanes
    from medley.lm.panes import Weight
    from medley.lm.sampling import Sampling

THEIR_OWN = "as the adapters say"
MAX_PROMPT_LETTERS = 20_000
WAITING = "Loading the model and the adapters; the first time takes a while."
REASONS = {"length": "cut at the longest answer", "stopped": "stopped"}


@dataclass
class Turn:
    """One prompt, and what each pane answered with which blend."""

    prompt: str
    answers: list[Answer] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


def sampling_options() -> list[Option]:
    """How answers are drawn, option by option, in the order of the controls."""
    from medley.lm.sampling import Sampling

    return list(describe(Sampling))


def base_dropdown(workspace: Workspace, wanted: str) -> tuple[Any, str]:
    """The bases that can be chosen instead of the adapters' own, one if it is wanted, and the sentence that says so."""
    names = [THEIR_OWN, *workspace.bases()]
    if not wanted:
        return gr.Dropdown(names, value=THEIR_OWN), ""
    base, problem = attempt(lambda: workspace.base(wanted))
    if base is None:
        return gr.Dropdown(names, value=THEIR_OWN), problem
    text = f"Every pane stands on {base.label}; a pane with no adapter is that model itself."
    return gr.Dropdown([*dict.fromkeys([*names, base.label])], value=base.label), markup.notice("plain", text)


def empty_answers() -> list[str]:
    """Every pane before anything was asked."""
    return _conversations([])


def clear(run_id: str) -> list[Any]:
    """Forget the conversation; a question under way is stopped."""
    if run_id in STREAMS:
        STREAMS[run_id].stop()
    stops = [gr.Button(visible=False)] * MAX_PANES
    return [*empty_answers(), *stops, "", gr.skip(), None, ""]


def stop(index: int, run_id: str) -> Any:
    """End one pane at its next token."""
    answering = STREAMS.get(run_id or "")
    if answering is not None:
        answering.stop([index])
    return gr.Button(visible=False)


def ask_again(workspace: Workspace, prompt: str, talk: list[Turn] | None, *rest: Any) -> Iterator[list[Any]]:
    """The last prompt once more, with the panes and weights as they are now."""
    turns = list(talk or [])
    if not turns:
        yield from ask(workspace, prompt, turns, *rest)
        return
    last = turns.pop()
    yield from ask(workspace, last.prompt, turns, *rest)


def ask(
    workspace: Workspace, prompt: str, talk: list[Turn] | None, system: str, base: str, *values: Any
) -> Iterator[list[Any]]:
    """Ask every pane; yields values for the answers, stop buttons, notice, prompt, talk and run id."""
    turns = list(talk or [])
    try:
        yield from _ask(workspace, (prompt or "").strip(), turns, system, base, values)
    except UserError as error:
        yield _failed(turns, markup.notice("bad", str(error)))
    except Exception:
        log.exception("A comparison failed")
        yield _failed(turns, markup.notice("bad", "The engine failed. The details are in the app's terminal."))


def _failed(turns: Sequence[Turn], notice: str) -> list[Any]:
    hidden = [gr.Button(visible=False)] * MAX_PANES
    return [*_conversations(turns), *hidden, notice, gr.skip(), list(turns), ""]


def _ask(
    workspace: Workspace, prompt: str, turns: list[Turn], system: str, base: str, values: Sequence[Any]
) -> Iterator[list[Any]]:
    options = sampling_options()
    sampling = read_sampling(values[: len(options)])
    blends = compare_panes.read(values[len(options) :])
    if not prompt:
        raise ParameterError("Write a prompt first.")
    if len(prompt) > MAX_PROMPT_LETTERS:
        raise ParameterError(
            f"The prompt has {len(prompt)} letters; the most that can be asked is {MAX_PROMPT_LETTERS}."
        )
    turn = Turn(prompt, [Answer() for _ in blends], [pane_text(blend) for blend in blends])
    hidden = [gr.Button(visible=False)] * MAX_PANES
    yield [*_conversations([*turns, turn]), *hidden, "", "", turns, ""]
    panes = open_panes(workspace, blends, base)
    histories = [_history(turns, index, system, prompt) for index in range(len(blends))]
    answering = Answering(lambda should_stop: panes.stream(histories, sampling, should_stop=should_stop), len(blends))
    for answers in answering.follow():
        turn.answers = answers
        stops = [gr.Button(visible=index < len(answers) and not answers[index].is_done) for index in range(MAX_PANES)]
        yield [*_conversations([*turns, turn]), *stops, "", gr.skip(), gr.skip(), answering.id]
    yield [*_conversations([*turns, turn]), *hidden, "", gr.skip(), [*turns, turn], ""]


def read_sampling(values: Sequence[Any]) -> "Sampling":
    """The sampling options from their controls.

    Raises:
        ProblemsError: everything that is out of range.
    """
    from medley.lm.sampling import Sampling

    chosen, problems = {}, []
    for option, value in zip(sampling_options(), values, strict=True):
        try:
            chosen[option.name] = to_value(option, value)
        except ParameterError as error:
            problems.append(str(error))
    if problems:
        raise ProblemsError("how answers are drawn", problems)
    return Sampling(**chosen)


def open_panes(workspace: Workspace, blends: Sequence[Blend], base: str) -> "OpenPanes":
    """The panes in the engine. Adapters and bases are registry versions; a path that somebody sends is no name."""
    from medley.jobs import open_panes as open_in_engine

    for blend in blends:
        for reference, _ in blend:
            workspace.version(reference, "adapter")
    chosen = None if not base or base == THEIR_OWN else workspace.base(base).label
    texts = [pane_text(blend) for blend in blends]
    return open_in_engine(workspace.registry, texts, base=chosen, pool=workspace.engines, may_open_paths=False)


def _history(turns: Sequence[Turn], index: int, system: str, prompt: str) -> list[dict[str, str]]:
    """A pane's own conversation: the prompts it was asked and what it said itself."""
    messages = [{"role": "system", "content": system.strip()}] if (system or "").strip() else []
    for turn in turns:
        if index < len(turn.answers):
            messages.append({"role": "user", "content": turn.prompt})
            messages.append({"role": "assistant", "content": turn.answers[index].text})
    return [*messages, {"role": "user", "content": prompt}]


def _conversations(turns: Sequence[Turn]) -> list[str]:
    return [_conversation(turns, index) for index in range(MAX_PANES)]


def _conversation(turns: Sequence[Turn], index: int) -> str:
    """A pane's conversation as HTML: every text escaped, so that nothing in an answer is run, loaded or linked."""
    parts = []
    for turn in turns:
        if index >= len(turn.answers):
            continue
        answer = turn.answers[index]
        css = "m-answered" if answer.is_done else "m-answered m-caret"
        parts.append(f'<div class="m-said">{markup.escape(turn.prompt)}</div>')
        if not answer.new_tokens and not answer.is_done:
            parts.append(f'<p class="m-quiet">{WAITING}</p>')
        parts.append(f'<div class="{css}">{markup.escape(answer.text)}</div>')
        parts.append(small_print(answer, turn.labels[index]))
    body = "".join(parts) or '<p class="m-quiet">The answer appears here.</p>'
    return f'<div class="m-answer" tabindex="0"><div>{body}</div></div>'


def small_print(answer: Answer, label: str) -> str:
    """Who said it, how long and how fast; hovering shows the digests and weights that really produced it."""
    if not answer.new_tokens and not answer.is_done:
        return ""
    blend = ", ".join(_times(key, weight) for key, weight in answer.blend.items()) or "the base itself"
    words = [
        plural(answer.new_tokens, "token"),
        f"{answer.tokens_per_s:.1f} tokens/s",
        REASONS.get(answer.finish_reason),
    ]
    text = " · ".join(word for word in words if word)
    return f'<p class="m-small-print"><span title="{markup.escape(blend)}">{markup.escape(label)}</span> · {text}</p>'


def _times(key: str, weight: "Weight") -> str:
    return f"{key[:8]} × {weight:g}" if isinstance(weight, (int, float)) else f"{key[:8]} × weights by module"
