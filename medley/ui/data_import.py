"""An import started from the Data page: the upload becomes a job, the job is watched, its dataset is opened."""

import re
from pathlib import Path
from typing import Any

import gradio as gr

from medley.errors import NotFoundError, ParameterError
from medley.ui import markup
from medley.ui.job_rows import progress_text
from medley.ui.workspace import Workspace, attempt


def suggest_name(file: str | None, name: str) -> str:
    """A name made from the file's, unless one is written already."""
    if name or not file:
        return name
    stem = Path(file).name.split(".")[0].lower()
    return re.sub(r"[^a-z0-9._]+", "-", stem).strip("-._")[:60]


def start(
    workspace: Workspace, file: str | None, hub_id: str, split: str, name: str, format: str, eval_share: float,
    turns: str, licence: str, provenance: str = "",
) -> tuple[str, str, Any]:  # fmt: skip
    """Queue the import: the job's id, what to show, and the timer that watches it."""

    def submit() -> str:
        from medley.jobs import import_spec

        workspace.check_writable("Importing")
        if not (name or "").strip():
            raise ParameterError("Give the dataset a name, for example 'pirate-talk'.")
        spec = import_spec(
            workspace.registry,
            source_of(file, hub_id),
            name=name.strip(),
            format=format or "auto",
            split=(split or "").strip() or None if not file else None,
            eval_share=float(eval_share),
            turns=turns or "all",
            licence=(licence or "").strip() or None,
            provenance=provenance or None,
        )
        return workspace.submit(spec).id

    job_id, problem = attempt(submit)
    if job_id is None:
        return "", problem, gr.Timer(active=False)
    return job_id, markup.progress_bar(None, "Import") + "<p class='m-quiet'>Import begins</p>", gr.Timer(active=True)


def has_examples(workspace: Workspace) -> bool:
    """Whether there are shipped datasets that may be imported here and are not yet."""
    from medley.jobs.demo import EXAMPLES, LESSONS

    if workspace.is_read_only or not EXAMPLES.is_dir():
        return False
    return not all(workspace.registry.exists(lesson.data) for lesson in LESSONS)


def start_examples(workspace: Workspace) -> tuple[str, str, Any, Any]:
    """Queue the import of the shipped datasets; the last one is watched."""

    def submit() -> str:
        from medley.jobs import import_spec
        from medley.jobs.demo import EXAMPLES, LESSONS

        workspace.check_writable("Importing")
        specs = [
            import_spec(workspace.registry, EXAMPLES / lesson.file, name=lesson.data, licence="CC0-1.0")
            for lesson in LESSONS
        ]
        return [workspace.submit(spec).id for spec in specs][-1]

    job_id, problem = attempt(submit)
    if job_id is None:
        return "", problem, gr.Timer(active=False), gr.skip()
    waiting = markup.progress_bar(None, "Import") + "<p class='m-quiet'>The examples are being imported</p>"
    return job_id, waiting, gr.Timer(active=True), gr.Button(visible=False)


def source_of(file: str | None, hub_id: str) -> str:
    """The uploaded file, or the Hub id that was typed. What is typed is never opened as a path.

    Raises:
        ParameterError, NotFoundError: neither is given, or what was typed is no Hub id.
    """
    typed = (hub_id or "").strip()
    if file:
        return file
    if not typed:
        raise ParameterError("Choose a file, or write the id of a dataset on the Hub.")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", typed) or ".." in typed or Path(typed).exists():
        raise NotFoundError(f"{typed[:80]!a} is no Hub id. Write it as org/name, or upload the file.")
    return typed


def poll(workspace: Workspace, job_id: str) -> tuple[Any, Any, str]:
    """How the import goes; when it is done, the address of the dataset."""
    if not job_id:
        return gr.skip(), gr.Timer(active=False), ""
    job, problem = attempt(lambda: workspace.jobs.get(job_id))
    if job is None:
        return problem, gr.Timer(active=False), ""
    if not job.is_finished:
        view = workspace.runs.read(workspace.jobs, job.id)
        line = f"<p class='m-quiet'>{markup.escape(progress_text(job, view))}</p>"
        return markup.progress_bar(view.share, job.title) + line, gr.skip(), ""
    if job.state == "done":
        done = markup.notice("good", f"{job.output_name} is there.")
        return done, gr.Timer(active=False), markup.address("data", {"name": job.output_name})
    return markup.notice("bad", job.error or f"The job is {job.state}."), gr.Timer(active=False), ""
