"""Trying a blend before it is made: one prompt, answered by the adapters with the weights as they are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from medley.errors import ParameterError, ProblemsError, UserError
from medley.ui import markup
from medley.ui.address import go_when_set
from medley.ui.answering import STREAMS, Answer, Answering
from medley.ui.compare_panes import Blend, pane_text
from medley.ui.compare_talk import MAX_PROMPT_LETTERS, WAITING, open_panes, small_print
from medley.ui.merge_form import MAX_INPUTS, plan, read
from medley.ui.workspace import Workspace, attempt, log
from merging import METHODS

if TYPE_CHECKING:
    from merging import Recipe

SHOWS_EXACTLY = ("linear", "task_arithmetic", "concat")
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
EMPTY = "The blend answers here. Nothing is made yet: move a slider and ask again."


@dataclass(frozen=True)
class BlendPanel:
    """The components of the preview."""

    prompt: gr.Textbox
    ask: gr.Button
    stop: gr.Button
    compare: gr.Button
    answer: gr.HTML


def build_panel() -> BlendPanel:
    with gr.Column(elem_classes="m-panel"):
        gr.HTML(markup.heading("3. Try the blend"))
        with gr.Row(elem_classes="m-ask"):
            prompt = gr.Textbox(label="Prompt of the preview", placeholder="Ask the blend something", lines=1,
                                max_lines=4, scale=5, elem_id="blend-prompt")  # fmt: skip
            ask_button = gr.Button("Ask the blend", scale=0, min_width=120, elem_id="blend-ask")
            stop_button = gr.Button("Stop", scale=0, min_width=70, interactive=False, elem_id="blend-stop")
        answer = gr.HTML(answer_html(None, ""), elem_id="blend-answer", min_height=230)
        with gr.Row(elem_classes="m-actions"):
            compare = gr.Button("Compare it with its parents", size="sm", elem_id="merge-try")
    return BlendPanel(prompt, ask_button, stop_button, compare, answer)


def listen(workspace: Workspace, panel: BlendPanel, inputs: list[gr.components.Component], notice: gr.HTML) -> None:
    """Ask by the button or Enter, stop, and go on in Compare."""
    run_id, target = gr.Textbox(visible=False), gr.Textbox(visible=False)
    talk = {"concurrency_id": "merge-blend", "concurrency_limit": 4, **QUIET}
    for event in (panel.ask.click, panel.prompt.submit):
        event(partial(ask, workspace), [panel.prompt, *inputs], [panel.answer, panel.stop, run_id], **talk)
    panel.stop.click(stop, run_id, panel.stop, **QUIET)
    tried = panel.compare.click(partial(try_address, workspace), inputs, [target, notice], **QUIET)
    tried.then(**go_when_set(target))


def blend_of(recipe: "Recipe", adapters: Sequence[str], weights: Sequence[float]) -> tuple[Blend, str]:
    """The weighted sum that the engine can show, and a sentence where the merge will be something else."""
    shares = [float(weight) for weight in weights[: len(adapters)]]
    method = METHODS[recipe.merge_method]
    if recipe.merge_method == "slerp":
        t = float(recipe.parameters.get("t", 0.5))
        shares = [1 - t, t]
    elif not method.is_weighted:
        shares = [1 / len(adapters)] * len(adapters)
    elif _divides(recipe) and sum(shares):
        shares = [share / sum(shares) for share in shares]
    scale = float(recipe.parameters.get("lambda", 1.0))
    blend = [(name, round(scale * share, 4)) for name, share in zip(adapters, shares, strict=False)]
    is_cut = recipe.rank.kind not in ("auto", "exact")
    if recipe.merge_method in SHOWS_EXACTLY:
        return blend, "The merge will also be cut to its rank; the preview is not." if is_cut else ""
    note = f"The preview is the plain weighted sum; {recipe.merge_method} will differ from it"
    return blend, f"{note} in {'strength' if method.family == 'exact' else 'single entries or directions'}."


def _divides(recipe: "Recipe") -> bool:
    own = recipe.method.parameter("normalize")
    if own is not None:
        return bool(recipe.parameters.get("normalize", own.default))
    return recipe.method.divides_by_weights


def checked_blend(workspace: Workspace, values: Sequence[Any]) -> tuple[Blend, str]:
    """The blend of the form as it is.

    Raises:
        ParameterError, ProblemsError: nothing is chosen, or what stands against the merge.
    """
    recipe = read(values)
    found = plan(workspace, recipe)
    if found.findings.problems:
        raise ProblemsError("the merge", found.findings.problems)
    return blend_of(recipe, list(values[0]), values[1 : 1 + MAX_INPUTS])


def ask(workspace: Workspace, prompt: str, *values: Any) -> Iterator[list[Any]]:
    """Ask the blend; yields the answer, the stop button and the run's id."""
    idle = gr.Button(interactive=False)
    try:
        yield from _ask(workspace, (prompt or "").strip(), values)
    except UserError as error:
        yield [markup.notice("bad", str(error)), idle, ""]
    except Exception:  # the edge: the page must not stay without a word
        log.exception("A preview failed")
        yield [markup.notice("bad", "The engine failed. The details are in the app's terminal."), idle, ""]


def _ask(workspace: Workspace, prompt: str, values: Sequence[Any]) -> Iterator[list[Any]]:
    from medley.lm.sampling import Sampling

    if not prompt:
        raise ParameterError("Write a prompt first.")
    if len(prompt) > MAX_PROMPT_LETTERS:
        raise ParameterError(f"The prompt has {len(prompt)} letters; at most {MAX_PROMPT_LETTERS} can be asked.")
    blend, note = checked_blend(workspace, values)
    label = pane_text(blend)
    yield [answer_html(Answer(), label, note), gr.Button(interactive=True), ""]
    panes = open_panes(workspace, [blend], "")
    messages = [[{"role": "user", "content": prompt}]]
    answering = Answering(lambda should_stop: panes.stream(messages, Sampling(), should_stop=should_stop), 1)
    for answers in answering.follow():
        yield [answer_html(answers[0], label, note), gr.skip(), answering.id]
    yield [answer_html(answering.answers[0], label, note), gr.Button(interactive=False), ""]


def stop(run_id: str) -> Any:
    """End the answer at its next token."""
    answering = STREAMS.get(run_id or "")
    if answering is not None:
        answering.stop()
    return gr.Button(interactive=False)


def answer_html(answer: Answer | None, label: str, note: str = "") -> str:
    """The answer as plain text, who gave it, and how the merge will differ; every word escaped."""
    if answer is None:
        return f'<div class="m-preview"><p class="m-quiet">{EMPTY}</p></div>'
    waiting = "" if answer.new_tokens or answer.is_done else f'<p class="m-quiet">{WAITING}</p>'
    css = "m-answered" if answer.is_done else "m-answered m-caret"
    words = f'<p class="m-quiet">{markup.escape(note)}</p>' if note else ""
    text = f'<div class="{css}">{markup.escape(answer.text)}</div>'
    return f'<div class="m-preview" tabindex="0">{waiting}{text}{small_print(answer, label)}{words}</div>'


def try_address(workspace: Workspace, *values: Any) -> tuple[str, str]:
    """The comparison that shows the base, each adapter and their weighted sum live, or what stands against it."""

    def make() -> str:
        blend, _ = checked_blend(workspace, values)
        panes = ["base", *list(values[0])[:2], "+".join(f"{name}={weight:g}" for name, weight in blend)]
        return markup.address("compare", {"panes": ",".join(panes)})

    address, problem = attempt(make)
    return address or "", problem
