import gradio as gr
from medley.ui import markup
from medley.ui.workspace import Workspace


def build(page: gr.Blocks, workspace: Workspace) -> None:
    gr.HTML(markup.page_head("publish", "soon"))
