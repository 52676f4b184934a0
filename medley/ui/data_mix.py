"""The form that mixes datasets: names with weights, names with replay shares; the mixture is a job like an import."""

from functools import partial
from typing import Any

import gradio as gr

from medley.errors import ParameterError
from medley.ui import markup
from medley.ui.workspace import Workspace, attempt

QUIET = {"show_progress": "hidden", "api_visibility": "private"}


def build(workspace: Workspace, job_id: gr.Textbox, progress: gr.HTML, timer: gr.Timer) -> None:
    """The folded form; a started mixture is watched by the import's own progress line."""
    with gr.Accordion("Mix datasets", open=False, elem_id="mix-form"):
        sources = gr.Textbox(
            label="Datasets and weights", info="A weight of 3 gives three times the rows of a weight of 1.",
            placeholder="pirate=3, tidy-list=1", max_lines=2,
        )  # fmt: skip
        replay = gr.Textbox(
            label="Replay against forgetting", info="Its share of all rows, between 0 and 1. May stay empty.",
            placeholder="general=0.1", max_lines=2,
        )  # fmt: skip
        with gr.Row():
            rows = gr.Textbox(label="Rows", placeholder="all that fit", max_lines=1, min_width=120)
            name = gr.Textbox(label="Name of the mixture", placeholder="pirate-lists", max_lines=1, min_width=160)
        go = gr.Button("Mix", elem_id="mix-start")
    go.click(partial(start, workspace), [sources, replay, rows, name], [job_id, progress, timer], **QUIET)


def start(workspace: Workspace, sources: str, replay: str, rows: str, name: str) -> tuple[str, str, Any]:
    """Queue the mixture: the job's id, what to show, and the timer that watches it."""

    def submit() -> str:
        from medley.jobs import mix_spec, parse_shares

        workspace.check_writable("Mixing")
        if not (name or "").strip():
            raise ParameterError("Give the mixture a name, for example 'pirate-lists'.")
        spec = mix_spec(
            workspace.registry,
            parse_shares(sources or ""),
            name=name.strip(),
            replay=parse_shares(replay or "", what="share"),
            rows=_number(rows or ""),
        )
        return workspace.submit(spec).id

    job_id, problem = attempt(submit)
    if job_id is None:
        return "", problem, gr.Timer(active=False)
    waiting = markup.progress_bar(None, "Mix") + "<p class='m-quiet'>Mixing begins</p>"
    return job_id, waiting, gr.Timer(active=True)


def _number(text: str) -> int | None:
    """A number of rows as it was typed; nothing for as many as there are."""
    plain = text.replace(",", "").strip()
    if plain and not plain.isdecimal():
        raise ParameterError(f"Rows must be a whole number, got {text.strip()!a}.")
    return int(plain) if plain else None
