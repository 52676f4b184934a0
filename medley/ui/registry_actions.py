"""What can be done to a version on its page: aliases, verify, export, removal in two steps."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from medley.errors import ParameterError
from medley.ui import markup, version_view
from medley.ui.run_results import reward_ways
from medley.ui.version_view import VersionView
from medley.ui.workspace import Workspace, attempt

# A download begins by a click; the button that holds the archive stays out of sight and is clicked by the page.
DOWNLOAD = """() => setTimeout(() => {
  const place = document.querySelector('#export-archive');
  (place?.matches('button, a') ? place : place?.querySelector('button, a'))?.click();
}, 200)"""
QUIET = {"show_progress": "hidden", "api_visibility": "private"}


def build(workspace: Workspace, view: VersionView) -> None:
    """The action panels in the right column of the version's page."""
    with view.use:
        gr.HTML(markup.heading("Use it"))
        links = gr.HTML()
        with gr.Row(elem_classes="m-actions"):
            verify = gr.Button("Verify files", size="sm")
            export = gr.Button("Export as zip", size="sm")
        archive = gr.DownloadButton("The archive", elem_id="export-archive", elem_classes="m-offstage")
        notice = gr.HTML()
    if not workspace.is_read_only:
        with view.change:
            _build_aliases(workspace, view)
            _build_removal(workspace, view)
    verify.click(partial(verify_version, workspace), view.reference, notice, api_visibility="private")
    made = export.click(partial(export_version, workspace), view.reference, [archive, notice], api_visibility="private")
    made.success(None, None, None, js=DOWNLOAD, api_visibility="private")
    view.reference.change(partial(next_steps, workspace), view.reference, links, **QUIET)


def _build_aliases(workspace: Workspace, view: VersionView) -> None:
    with gr.Column(elem_classes="m-panel"):
        gr.HTML(markup.heading("Aliases", "A word that points at one version and can be moved."))
        alias = gr.Textbox(label="Alias", placeholder="production", max_lines=1)
        with gr.Row(elem_classes="m-actions"):
            put = gr.Button("Point it here", size="sm")
            take = gr.Button("Take it away", size="sm")
        notice = gr.HTML()
    changed = [notice, view.versions]
    put.click(partial(set_alias, workspace), [view.reference, alias], changed, **QUIET)
    take.click(partial(remove_alias, workspace), [view.reference, alias], changed, **QUIET)


def _build_removal(workspace: Workspace, view: VersionView) -> None:
    with gr.Column(elem_classes="m-panel"):
        ask = gr.Button("Remove this version…", size="sm", variant="stop")
        with gr.Column(visible=False) as sure:
            question = gr.HTML()
            with gr.Row(elem_classes="m-actions"):
                yes = gr.Button("Remove", size="sm", variant="stop")
                no = gr.Button("Keep it", size="sm")
        undo = gr.Button("Bring it back", size="sm", visible=False)
        notice = gr.HTML()
    ask.click(ask_to_remove, view.reference, [sure, question], **QUIET)
    no.click(lambda: gr.Column(visible=False), None, sure, **QUIET)
    yes.click(partial(remove, workspace), view.reference, [notice, sure, ask, undo], **QUIET)
    undo.click(partial(restore, workspace), view.reference, [notice, ask, undo], **QUIET)


def next_steps(workspace: Workspace, reference: str) -> str:
    """Where a version can be taken from here."""
    version = attempt(lambda: workspace.version(reference))[0]
    if version is None:
        return ""
    ways = []
    if version.metadata.get("adapter_kind") == "reward":
        ways = reward_ways(version)
    elif version.kind == "adapter":
        ways = [
            markup.button_link("compare", "Compare with its base", {"panes": f"base,{version.label}"}),
            markup.button_link("merge", "Blend it", {"adapters": version.label}),
            markup.button_link("publish", "Publish", {"name": version.label}),
        ]
    if version.kind == "dataset":
        ways = [
            markup.button_link("data", "Look at the rows", {"name": version.label}),
            markup.button_link("train", "Train on it", {"data": version.label}),
            markup.button_link("publish", "Publish", {"name": version.label}),
        ]
    if version.kind in ("base", "model"):
        ways = [
            markup.button_link("compare", "Talk to it", {"panes": "base", "base": version.label}),
            markup.button_link("train", "Train on it", {"base": version.label}),
        ]
    if version.kind == "model":
        ways.append(markup.button_link("publish", "Publish", {"name": version.label}))
    return f'<div class="m-side">{"".join(ways)}</div>' if ways else ""


def verify_version(workspace: Workspace, reference: str) -> str:
    """Hash the files again and say whether they are what was published."""
    report, notice = attempt(lambda: workspace.registry.verify(workspace.version(reference).label))
    if report is None:
        return notice
    if report.is_ok:
        return markup.notice("good", "Every file is what was published.")
    return markup.notice(
        "bad", "\n".join(f"{problem.path or 'the record'}: {problem.what}" for problem in report.problems)
    )


def export_version(workspace: Workspace, reference: str) -> tuple[Any, str]:
    """A zip of the adapter or the model for download, made in a folder of its own."""

    def make() -> Path:
        from hub.export import export_version

        version = workspace.version(reference)
        kind = "model" if version.kind == "model" else "adapter"  # others are refused by the export
        out = Path(tempfile.mkdtemp(prefix="medley-export-")) / f"{version.name}-v{version.number}.zip"
        return export_version(workspace.registry, version.label, out, kind=kind)

    path, notice = attempt(make)
    if path is None:
        return gr.skip(), notice
    return str(path), markup.notice("good", f"{Path(path).name} is ready.")


def set_alias(workspace: Workspace, reference: str, alias: str) -> tuple[str, Any]:
    """Point the alias at this version, wherever it pointed."""

    def put() -> str:
        workspace.check_writable("Moving an alias")
        version = workspace.version(reference)
        workspace.registry.set_alias(version.name, _word(alias), version.number)
        return markup.notice("good", f"{version.name}:{_word(alias)} is now v{version.number}.")

    return _aliases_after(workspace, reference, attempt(put))


def remove_alias(workspace: Workspace, reference: str, alias: str) -> tuple[str, Any]:
    """Take the alias away from the name."""

    def take() -> str:
        workspace.check_writable("Removing an alias")
        version = workspace.version(reference)
        workspace.registry.remove_alias(version.name, _word(alias))
        return markup.notice("good", f"{version.name} has no alias {_word(alias)} any more.")

    return _aliases_after(workspace, reference, attempt(take))


def _aliases_after(workspace: Workspace, reference: str, result: tuple[str | None, str]) -> tuple[str, Any]:
    done, problem = result
    if done is None:
        return problem, gr.skip()
    return done, version_view.versions_table(workspace, workspace.version(reference))


def _word(alias: str) -> str:
    word = (alias or "").strip()
    if not word:
        raise ParameterError("Write the alias first, for example 'production'.")
    return word


def ask_to_remove(reference: str) -> list[Any]:
    """The question before a removal, with what it means."""
    text = (
        f"{reference} disappears from every list. Its files are deleted by the next clean-up, after an hour or later."
    )
    return [gr.Column(visible=True), markup.notice("warn", text)]


def remove(workspace: Workspace, reference: str) -> list[Any]:
    """Hide the version; it can be brought back until the registry is cleaned up."""

    def hide() -> str:
        workspace.check_writable("Removing a version")
        return workspace.registry.remove(workspace.version(reference).label).label

    label, problem = attempt(hide)
    closed = gr.Column(visible=False)
    if label is None:
        return [problem, closed, gr.skip(), gr.skip()]
    return [markup.notice("warn", f"{label} is removed."), closed, gr.Button(visible=False), gr.Button(visible=True)]


def restore(workspace: Workspace, reference: str) -> list[Any]:
    """Bring a removed version back."""

    def show() -> str:
        workspace.check_writable("Bringing a version back")
        return workspace.registry.restore(reference).label

    label, problem = attempt(show)
    if label is None:
        return [problem, gr.skip(), gr.skip()]
    return [markup.notice("good", f"{label} is back."), gr.Button(visible=True), gr.Button(visible=False)]
