"""A box on a reward model's page: a prompt with one or two answers, and what it scores them."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr

from medley.errors import ParameterError
from medley.ui import markup
from medley.ui.version_view import VersionView
from medley.ui.workspace import Workspace, attempt

QUIET = {"show_progress": "hidden", "api_visibility": "private"}


def build(workspace: Workspace, view: VersionView) -> None:
    """The box, in the panel that the version's page has for it; shown for reward models alone."""
    with view.score:
        gr.HTML(
            markup.heading("Score answers", "Higher is better; only the difference of two answers means something.")
        )
        prompt = gr.Textbox(label="Prompt", placeholder="How do I wash a wool sweater?", lines=2)
        with gr.Row():
            first = gr.Textbox(label="Answer A", lines=4, min_width=220)
            second = gr.Textbox(label="Answer B", placeholder="May stay empty", lines=4, min_width=220)
        ask = gr.Button("Score", variant="primary", elem_id="score-answers")
        scores = gr.HTML(elem_id="scores", min_height=80)
    taken = ask.click(lambda: (markup.progress_bar(None, "Scoring"), gr.Button(interactive=False)), None, [scores, ask],
                      **QUIET)  # fmt: skip
    done = taken.then(
        partial(score_answers, workspace), [view.reference, prompt, first, second], scores, concurrency_limit=1,
        **QUIET,
    )  # fmt: skip
    done.then(lambda: gr.Button(interactive=True), None, ask, **QUIET)
    view.reference.change(partial(shown_for, workspace), view.reference, [view.score, scores], **QUIET)


def shown_for(workspace: Workspace, reference: str) -> list[Any]:
    """The panel for a reward model, with no scores yet; nothing for any other version."""
    version = attempt(lambda: workspace.version(reference))[0] if reference else None
    return [gr.Column(visible=version is not None and version.metadata.get("adapter_kind") == "reward"), ""]


def score_answers(workspace: Workspace, reference: str, prompt: str, first: str, second: str) -> str:
    """The answers' scores, and with two of them which one is preferred and how surely."""

    def score() -> str:
        from medley.jobs.scoring import score_text

        version = workspace.version(reference, "adapter")
        if not (prompt or "").strip():
            raise ParameterError("Write a prompt first: a score is of an answer to something.")
        answers = [first, *([second] if (second or "").strip() else [])]
        scorer = workspace.scorers.get(workspace.registry, version.label)
        return verdict(score_text(workspace.registry, version.label, prompt, answers, scorer=scorer))

    html, notice = attempt(score)
    return notice if html is None else html


def verdict(scores: Sequence[float]) -> str:
    """Scores as a table; of two, the chance that the better one is preferred (Bradley-Terry)."""
    rows = [[f"Answer {'AB'[i]}", f"{score:+.3f}"] for i, score in enumerate(scores)]
    table = markup.table(["", "Score"], rows, numeric=(1,))
    if len(scores) < 2:
        return table
    margin = scores[0] - scores[1]
    chance = 1 / (1 + math.exp(-abs(margin)))
    better = "A" if margin > 0 else "B"
    text = f"It prefers {better}, with a chance of {chance:.0%}." if margin else "It finds both equally good."
    return table + markup.notice("plain", text)
