"""A merge started from the page: queued as a job, watched, and what to do with its result."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from hub import Version
from medley.errors import ParameterError
from medley.jobs import Job
from medley.ui import markup
from medley.ui.address import put_query
from medley.ui.compare_panes import MAX_PANES
from medley.ui.job_rows import progress_text, took_seconds
from medley.ui.merge_form import plan, read
from medley.ui.numbers import duration_text, number_text
from medley.ui.workspace import Workspace, attempt, shown

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
MOST_PARENTS = MAX_PANES - 1


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

    @property
    def watched(self) -> list[gr.components.Component]:
        """What changes while a merge runs; the button among them, so that its result has the one primary button."""
        return [self.job_id, self.progress, self.timer, self.merge]


def listen(workspace: Workspace, panel: MergePanel, inputs: list[gr.components.Component]) -> None:
    """Start a merge by the button and follow it until it has ended."""
    for event in (panel.merge.click, panel.name.submit):
        event(partial(start, workspace), [panel.name, *inputs], [*panel.watched, panel.notice], **QUIET)
    panel.timer.tick(partial(poll, workspace), panel.job_id, panel.watched[1:], concurrency_id="poll",
                     concurrency_limit=8, **QUIET)  # fmt: skip
    panel.job_id.change(None, panel.job_id, None, js=put_query(["job"]), api_visibility="private")


def merge_button(state: str) -> gr.Button:
    """The button before a merge ("first"), while it runs ("busy") and beside its result ("again").

    One merge runs at a time, and the result's own next step is primary.
    """
    return gr.Button(variant="primary" if state == "first" else "secondary", interactive=state != "busy")


def start(workspace: Workspace, name: str, *values: Any) -> list[Any]:
    """Queue the merge: its id, what to show, the timer that watches it, the button, and what is wrong, if anything."""

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
        return [gr.skip(), "", gr.Timer(active=False), merge_button("first"), problem]
    begins = markup.progress_bar(None, "Merge") + "<p class='m-quiet'>The merge begins</p>"
    return [job_id, begins, gr.Timer(active=True), merge_button("busy"), ""]


def resume(workspace: Workspace, job_id: str) -> list[Any]:
    """The job that the address names, as the page is opened."""
    if not job_id:
        return ["", "", gr.Timer(active=False), merge_button("first")]
    return [job_id, *poll(workspace, job_id)]


def poll(workspace: Workspace, job_id: str) -> tuple[str, gr.Timer, gr.Button]:
    """How the merge goes, and what to do next when it is done; the timer, and the button that starts another."""
    job, problem = attempt(lambda: workspace.jobs.get(job_id))
    if job is None:
        return problem, gr.Timer(active=False), merge_button("first")
    if not job.is_finished:
        view = workspace.runs.read(workspace.jobs, job.id)
        line = f"<p class='m-quiet'>{markup.escape(progress_text(job, view))}</p>"
        return markup.progress_bar(view.share, job.title) + line, gr.Timer(active=True), merge_button("busy")
    if job.state != "done":
        why = markup.notice("bad", job.error or f"{job.title}: {job.state}.")
        return why, gr.Timer(active=False), merge_button("first")
    return shown(lambda: result_html(workspace, job)), gr.Timer(active=False), merge_button("again")


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
    parents = _parents(workspace, version)
    panes = ",".join([*beside(parents), version.label])
    some = f"{MOST_PARENTS} of its {len(parents)}" if len(parents) > MOST_PARENTS else "its"
    return [
        markup.button_link("compare", f"Compare with {some} parents", {"panes": panes}, is_primary=True),
        markup.button_link("registry", "Look at it", named),
        markup.button_link("publish", "Publish", named),
    ]


def beside(adapters: Sequence[str]) -> list[str]:
    """The panes beside a blend: as many of its adapters as there is room for, and the base where there is room left."""
    return [*(["base"] if len(adapters) < MOST_PARENTS else []), *adapters[:MOST_PARENTS]]


def _parents(workspace: Workspace, version: Version) -> list[str]:
    """The adapters that went in, in the order of the recipe."""
    found = workspace.registry.parents(version.id)
    parents = [each for role, each in found if each and role == "input" and each.kind == "adapter"]
    return [each.label for each in sorted(parents, key=lambda each: (version.recipe or "").find(each.id))]
