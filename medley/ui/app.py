"""All pages in one Gradio app. Adding a page: a file with `build(workspace)`, and one line in PAGES."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from medley.ui import compare, data, home, merge, publish, registry, train
from medley.ui.workspace import Workspace


@dataclass(frozen=True)
class Page:
    """A page: its name in the bar, its address, and the function that builds it inside the open Blocks."""

    name: str
    path: str
    build: Callable[[gr.Blocks, Workspace], None]


PAGES = (
    Page("Home", "", home.build),
    Page("Data", "data", data.build),
    Page("Train", "train", train.build),
    Page("Merge", "merge", merge.build),
    Page("Compare", "compare", compare.build),
    Page("Registry", "registry", registry.build),
    Page("Publish", "publish", publish.build),
)


def build_app(home_dir: Path | None = None, read_only: bool = False) -> gr.Blocks:
    """The app with all its pages; `app.py` mounts it.

    Args:
        home_dir: the home folder it shows; None for the user's own ($MEDLEY_HOME or the platform's).
        read_only: True switches off everything that trains, changes or deletes.
    """
    workspace = Workspace(home_dir, read_only)
    first, *others = PAGES
    with gr.Blocks(analytics_enabled=False, title="Medley", fill_width=True) as demo:
        gr.Navbar(main_page_name=first.name)
        first.build(demo, workspace)
    for page in others:
        with demo.route(page.name, page.path) as route:
            page.build(route, workspace)
    return demo
