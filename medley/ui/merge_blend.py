"""Trying a blend before it is made: one prompt, answered by the adapters with the weights as they are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

import gradio as gr

from medley.errors import ParameterError, ProblemsError, UserError
from medley.ui import markup
from medley.ui.address import go_when_set
from medley.ui.answering import STREAMS, Answer, Answering
from medley.ui.compare_panes import MAX_BLENDED, Blend, pane_text
from medley.ui.compare_talk import MAX_PROMPT_LETTERS, WAITING, open_panes, small_print
from medley.ui.merge_form import MAX_INPUTS, plan, read
from medley.ui.merge_job import beside
from medley.ui.workspace import Workspace, attempt, log

if TYPE_CHECKING:
    from medley.jobs.build_merge import MergePlan
    from medley.lm.panes import PaneUpdate
    from merging import Recipe

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
EMPTY = "The blend answers here. Nothing is made yet: move a slider and ask again."
BY_MODULE = "Every module has weights of its own, as in the merge; shown are their means."
NOT_CUT = "The merge will also be cut to its rank; the preview is not."


@dataclass(frozen=True)
class Preview:
    """The blend that is asked.

    Attributes:
        blend: adapters with their weights; where each module has weights of its own, their means.
        by_module: those weights, by the engine's keys; None where the same weights hold everywhere.
        note: how the merge will differ, or what the weights are.
    """

    blend: Blend
    by_module: Mapping[str, Mapping[str, float]] | None = None
    note: str = ""


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
            compare = gr.Button("Open in Compare", size="sm", elem_id="merge-try")
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


def preview_of(found: "MergePlan", adapters: Sequence[str], weights: Sequence[float]) -> Preview:
    """The weighted sum that the engine can show: that of the merge, or with a sentence that says what it is not."""
    from medley.jobs import live_weights

    recipe = found.recipe
    cut = NOT_CUT if recipe.rank.kind not in ("auto", "exact") else ""
    if recipe.method.is_fixed_sum or recipe.method.family == "concat":
        return Preview(_plain_sum(recipe, adapters, weights), note=cut)
    by_module = live_weights(found)
    if by_module is None:
        return Preview(_plain_sum(recipe, adapters, weights), note=_difference(recipe))
    means = [fmean(each.values()) if each else 0.0 for each in by_module.values()]
    blend = [(name, round(mean, 3)) for name, mean in zip(adapters, means, strict=False)]  # a twin has no own weights
    return Preview(blend, by_module, f"{BY_MODULE} {cut}".strip())


def _plain_sum(recipe: "Recipe", adapters: Sequence[str], weights: Sequence[float]) -> Blend:
    """The adapters by their weights, divided by their sum where the method divides; equal shares without weights."""
    shares = [float(weight) for weight in weights[: len(adapters)]]
    if not recipe.method.is_weighted:
        shares = [1 / len(adapters)] * len(adapters)
    elif _divides(recipe) and sum(shares):
        shares = [share / sum(shares) for share in shares]
    scale = float(recipe.parameters.get("lambda", 1.0))
    return [(name, round(scale * share, 4)) for name, share in zip(adapters, shares, strict=False)]


def _difference(recipe: "Recipe") -> str:
    """What the plain weighted sum does not show of a merge."""
    where = {"exact": "in the strength of single rows or columns", "factor": "by terms that nobody trained"}
    told = where.get(recipe.method.family, "in single entries or directions")
    return f"The preview is the plain weighted sum; {recipe.merge_method} will differ from it {told}."


def _divides(recipe: "Recipe") -> bool:
    own = recipe.method.parameter("normalize")
    if own is not None:
        return bool(recipe.parameters.get("normalize", own.default))
    return recipe.method.divides_by_weights


def checked_blend(workspace: Workspace, values: Sequence[Any]) -> Preview:
    """The blend of the form as it is.

    Raises:
        ParameterError, ProblemsError: nothing is chosen, or what stands against the merge.
    """
    recipe = read(values)
    found = plan(workspace, recipe)
    if found.findings.problems:
        raise ProblemsError("the merge", found.findings.problems)
    return preview_of(found, list(values[0]), values[1 : 1 + MAX_INPUTS])


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
    preview = checked_blend(workspace, values)
    label, note = pane_text(preview.blend), preview.note
    yield [answer_html(Answer(), label, note), gr.Button(interactive=True), ""]
    panes = open_panes(workspace, [preview.blend], "")
    messages = [[{"role": "user", "content": prompt}]]
    blends = None if preview.by_module is None else [preview.by_module]

    def stream(should_stop: Callable[[int], bool]) -> Iterator["PaneUpdate"]:
        return panes.stream(messages, Sampling(), blends=blends, should_stop=should_stop)

    answering = Answering(stream, 1)
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
    """The comparison of the weighted sum, live, with its adapters and the base, or what stands against it."""

    def make() -> str:
        blend = checked_blend(workspace, values).blend
        if len(blend) > MAX_BLENDED:
            raise ParameterError(f"Compare blends at most {MAX_BLENDED} adapters live; this blend has {len(blend)}. "
                                 "Ask it here, or merge and compare the result.")  # fmt: skip
        panes = [*beside(values[0]), "+".join(f"{name}={weight:g}" for name, weight in blend)]
        return markup.address("compare", {"panes": ",".join(panes)})

    address, problem = attempt(make)
    return address or "", problem
