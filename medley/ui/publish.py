"""Publish: an adapter, a model or a dataset to the Hub. The plan comes first; the token is used once and forgotten."""

from functools import partial
from typing import Any

import gradio as gr

from medley.ui import markup, publish_push
from medley.ui.address import keep_in_address
from medley.ui.workspace import Workspace, query_value

INTRO = "Exactly what will be uploaded, before anything leaves this machine: one commit, checked against our digests."
QUIET = {"show_progress": "hidden", "api_visibility": "private"}
VISIBILITIES = [("Private: only you can see it", "private"), ("Public: everybody can", "public")]


def build(page: gr.Blocks, workspace: Workspace) -> None:
    gr.HTML(markup.page_head("Publish", INTRO))
    with gr.Row(elem_classes="m-columns"):
        with gr.Column(scale=2):
            with gr.Column(elem_classes="m-panel"):
                gr.HTML(markup.heading("1. What and where"))
                with gr.Row():
                    name = gr.Dropdown([], label="Adapter, model or dataset", elem_id="publish-name", min_width=200)
                    repo = gr.Textbox(label="Repo on the Hub", placeholder="your-name/pirate", max_lines=1,
                                      elem_id="publish-repo", min_width=200)  # fmt: skip
                visibility = gr.Radio(VISIBILITIES, value="private", label="Who can see it")
            with gr.Column(elem_classes="m-panel"):
                gr.HTML(markup.heading("2. The card", "Written from what the registry knows. Change what you like."))
                card = gr.Textbox(label="README.md", lines=22, max_lines=22, elem_id="publish-card",
                                  elem_classes="m-textfile")  # fmt: skip
                with gr.Row(elem_classes="m-actions"):
                    rewrite = gr.Button("Write it anew", size="sm")
        with gr.Column(scale=1):
            with gr.Column(elem_classes="m-panel"):
                gr.HTML(markup.heading("3. Publish"))
                dry_run = gr.Button("Dry run", elem_id="publish-dry-run")
                token = gr.Textbox(label="Access token", type="password", max_lines=1, placeholder="hf_…",
                                   info="With write access. Used for this push alone, never stored.")  # fmt: skip
                push = gr.Button("Publish", variant="primary", elem_id="publish-push")
                notice = gr.HTML(elem_id="publish-notice")
            plan = gr.HTML(elem_id="publish-plan", min_height=320)
    written = gr.Textbox(visible=False)  # the card as it was written last, to know whether it was changed by hand
    keep_in_address({"name": name, "repo": repo})
    what = [name, repo, visibility, card]
    write = partial(publish_push.write_card, workspace)
    drawn = partial(publish_push.plan_html, workspace)
    gr.on([name.input, repo.blur, repo.submit], write, [name, repo, card, written], [card, written], **QUIET).then(
        drawn, what, plan, **QUIET
    )
    rewrite.click(lambda *values: write(*values, "", ""), [name, repo], [card, written], **QUIET)
    visibility.input(drawn, what, plan, **QUIET)
    dry_run.click(partial(publish_push.dry_run, workspace), what, [plan, notice], **QUIET)
    push.click(partial(publish_push.publish, workspace), [*what, token], [notice, token], concurrency_limit=2, **QUIET)

    def load(request: gr.Request) -> list[Any]:
        return publish_push.opened(workspace, query_value(request, "name"), query_value(request, "repo"))

    page.load(load, None, [name, repo, card, written, plan], **QUIET)
