"""Compare: several adapters and blends answer the same prompt side by side, all from one base in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from medley.ui import compare_panes, compare_talk, markup
from medley.ui.address import put_query
from medley.ui.compare_panes import MAX_BLENDED, MAX_PANES
from medley.ui.controls import NO_RESET, control
from medley.ui.workspace import Workspace, query_value

INTRO = "One prompt, several answers: the base, adapters and blends of them, side by side from one model in memory."
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
TALK = {"show_progress": "hidden", "api_visibility": "private", "concurrency_id": "engine", "concurrency_limit": 4}


@dataclass(frozen=True)
class PaneCard:
    """One column: who answers, the conversation, its stop button and its weights."""

    column: gr.Column
    adapters: gr.Dropdown
    answer: gr.HTML
    stop: gr.Button
    fold: gr.Accordion
    weights: tuple[gr.Slider, ...]


def build(page: gr.Blocks, workspace: Workspace) -> None:
    with gr.Row(elem_classes="m-headrow"):
        gr.HTML(markup.page_head("Compare", INTRO))
        count = gr.Radio([1, 2, 3, 4], value=2, label="Panes", elem_id="pane-count", scale=0, min_width=300)
    with gr.Row(elem_classes="m-panes", equal_height=True):
        cards = [_build_pane(index) for index in range(MAX_PANES)]
    with gr.Column(elem_classes="m-panel m-stick"):
        notice = gr.HTML(elem_id="compare-notice")
        with gr.Row(elem_classes="m-ask"):
            prompt = gr.Textbox(label="Prompt", placeholder="Ask all panes the same thing", lines=1, max_lines=6,
                                scale=5, elem_id="compare-prompt")  # fmt: skip
            send = gr.Button("Ask", variant="primary", scale=0, min_width=90, elem_id="compare-send")
            again = gr.Button("Ask again", scale=0, min_width=100, elem_id="compare-again")
            clear = gr.Button("Clear", scale=0, min_width=80)
        with gr.Accordion("How answers are drawn", open=False):
            system = gr.Textbox(label="System prompt", placeholder="none", max_lines=3)
            base = gr.Dropdown([], label="Base model", info="As the adapters say, unless chosen here.")
            with gr.Row(elem_classes="m-fields"):
                sampling = [control(each) for each in compare_talk.sampling_options()]
    draft = gr.BrowserState("", storage_key="medley-compare-prompt", secret="medley")
    prompt.blur(lambda text: text, prompt, draft, **QUIET)
    page.load(lambda text: text or gr.skip(), draft, prompt, **QUIET)
    talk, run_id, text = gr.State(None, time_to_live=3600), gr.Textbox(visible=False), gr.Textbox(visible=False)
    chosen = [count, *[part for card in cards for part in (card.adapters, *card.weights)]]
    _listen_to_choices(workspace, cards, count, chosen, text)
    answers = [card.answer for card in cards]
    outputs = [*answers, *[card.stop for card in cards], notice, prompt, talk, run_id]
    asked = [prompt, talk, system, base, *sampling, *chosen]
    for listen in (send.click, prompt.submit):
        listen(partial(compare_talk.ask, workspace), asked, outputs, **TALK)
    again.click(partial(compare_talk.ask_again, workspace), asked, outputs, **TALK)
    clear.click(partial(compare_talk.clear), run_id, outputs, **QUIET)
    for index, card in enumerate(cards):
        card.stop.click(partial(compare_talk.stop, index), run_id, card.stop, **QUIET)

    def load(request: gr.Request) -> list[Any]:
        panes, problem = compare_panes.from_address(workspace, query_value(request, "panes"))
        dropdown, about = compare_talk.base_dropdown(workspace, query_value(request, "base"))
        return [*compare_panes.show(workspace, panes), problem + about, dropdown,
                *compare_talk.empty_answers()]  # fmt: skip

    shown = [count, *[part for card in cards for part in (card.column, card.adapters, card.fold, *card.weights)]]
    page.load(load, None, [*shown, notice, base, *answers], **QUIET)


def _build_pane(index: int) -> PaneCard:
    letter = "ABCD"[index]
    with gr.Column(elem_classes="m-pane", visible=index < 2) as column:
        adapters = gr.Dropdown([], multiselect=True, label=f"Pane {letter} answers with", max_choices=MAX_BLENDED,
                               info="Nothing chosen: the base itself.", elem_id=f"pane-{index}")  # fmt: skip
        answer = gr.HTML(elem_id=f"answer-{index}")
        stop = gr.Button(f"Stop pane {letter}", size="sm", visible=False, elem_classes="m-stop")
        with gr.Accordion(f"Weights of pane {letter}", open=False, visible=False) as fold:
            weights = tuple(
                gr.Slider(-1, 2, value=1, step=0.01, label=f"Weight {i + 1}", visible=False, **NO_RESET)
                for i in range(MAX_BLENDED)
            )
    return PaneCard(column, adapters, answer, stop, fold, weights)


def _listen_to_choices(
    workspace: Workspace, cards: Sequence[PaneCard], count: gr.Radio, chosen: Sequence[Any], text: gr.Textbox
) -> None:
    """Columns appear and go, each adapter gets its slider, and the address follows."""
    count.input(compare_panes.show_columns, count, [card.column for card in cards], **QUIET)
    for card in cards:
        card.adapters.input(compare_panes.show_weights, card.adapters, [card.fold, *card.weights], **QUIET)
    moved = [part for card in cards for part in (card.adapters.change, *[slider.release for slider in card.weights])]
    gr.on([count.change, *moved], compare_panes.to_text, list(chosen), text, trigger_mode="always_last", **QUIET)
    text.change(None, text, None, js=put_query(["panes"]), api_visibility="private")
