"""A merge started from the page: queued as a job, watched, and what to do with its result."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from hub import Version
from medley.errors import ParameterError
from medley.jobs import Job
from medley.ui import markup
from medley.ui.address import put_query
from medley.ui.job_rows import progress_text, took_seconds
from medley.ui.merge_form import plan, read
from medley.ui.numbers import duration_text, number_text
from medley.ui.workspace import Workspace, attempt, shown

QUIET = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class MergePanel:
    """The components below the form."""

    name: gr.Textbox
    merge: gr.Button
    estimate: gr.HTML
    notice: gr.HTML
    progress: gr.HTML
    job_id: gr.Textbox
    timer: gr.Timer


def listen(workspace: Workspace, panel: MergePanel, inputs: list[gr.components.Component]) -> None:
    """Start a merge by the button and follow it until it has ended."""
    watched = [panel.job_id, panel.progress, panel.timer, panel.notice]
    panel.merge.click(partial(start, workspace), [panel.name, *inputs], watched, **QUIET)
    panel.timer.tick(partial(poll, workspace), panel.job_id, [panel.progress, panel.timer], concurrency_id="poll",
                     concurrency_limit=8, **QUIET)  # fmt: skip
    panel.job_id.change(None, panel.job_id, None, js=put_query(["job"]), api_visibility="private")


def start(workspace: Workspace, name: str, *values: Any) -> list[Any]:
    """Queue the merge: the job's id, what to show, the timer that watches it, and what is wrong if anything is."""

    def submit() -> str:
        from medley.jobs import merge_spec

        workspace.check_writable("Merging")
        if not (name or "").strip():
            raise ParameterError("Give the merge a name, for example 'pirate-lists'.")
        recipe = read(values)
        plan(workspace, recipe)
        spec = merge_spec(workspace.registry, recipe, name=name.strip(), may_open_paths=False)
        return workspace.submit(spec).id

    job_id, problem = attempt(submit)
    if job_id is None:
        return [gr.skip(), "", gr.Timer(active=False), problem]
    return [
        job_id,
        markup.progress_bar(None, "Merge") + "<p class='m-quiet'>The merge begins</p>",
        gr.Timer(active=True),
        "",
    ]


def resume(workspace: Workspace, job_id: str) -> list[Any]:
    """The job that the address names, as the page is opened."""
    if not job_id:
        return ["", "", gr.Timer(active=False)]
    progress, timer = poll(workspace, job_id)
    return [job_id, progress, gr.Timer(active=True) if timer is True else timer]


def poll(workspace: Workspace, job_id: str) -> tuple[str, Any]:
    """How the merge goes, and what to do next when it is done."""
    job, problem = attempt(lambda: workspace.jobs.get(job_id))
    if job is None:
        return problem, gr.Timer(active=False)
    if not job.is_finished:
        view = workspace.runs.read(workspace.jobs, job.id)
        line = f"<p class='m-quiet'>{markup.escape(progress_text(job, view))}</p>"
        return markup.progress_bar(view.share, job.title) + line, gr.Timer(active=True)
    if job.state != "done":
        return markup.notice("bad", job.error or f"{job.title}: {job.state}."), gr.Timer(active=False)
    return shown(lambda: result_html(workspace, job)), gr.Timer(active=False)


def result_html(workspace: Workspace, job: Job) -> str:
    """The new version, how exact it is, and the way on; of a fold into a folder, that it is there.

    Raises:
        NotFoundError: the version was removed.
    """
    took = duration_text(took_seconds(job))
    if job.result is None:
        return markup.notice("good", f"{job.title}: done in {took}. The model is in the folder that was given.")
    version = workspace.version(job.result)
    kept = (version.metadata.get("metrics") or {}).get("energy_kept")
    exact = f", {number_text(100 * kept)} % of the energy kept" if kept is not None else ""
    ways = _ways_on(workspace, version)
    done = markup.notice("good", f"{version.label} is made in {took}{exact}.")
    return f'{done}<div class="m-side m-next">{"".join(ways)}</div>'


def _ways_on(workspace: Workspace, version: Version) -> list[str]:
    """What to do next: an adapter is compared with its parents, a full model is a base."""
    named, base = {"name": version.label}, {"base": version.label}
    if version.kind != "adapter":
        return [
            markup.button_link("compare", "Talk to it", {"panes": "base", **base}, is_primary=True),
            markup.button_link("registry", "Look at it", named),
            markup.button_link("train", "Train on it", base),
            markup.button_link("publish", "Publish", named),
        ]
    parents = [
        parent.label
        for role, parent in workspace.registry.parents(version.id)
        if parent and role == "input" and parent.kind == "adapter"
    ]
    panes = ",".join(["base", *parents[:2], version.label])
    return [
        markup.button_link("compare", "Compare with its parents", {"panes": panes}, is_primary=True),
        markup.button_link("registry", "Look at it", named),
        markup.button_link("publish", "Publish", named),
    ]
