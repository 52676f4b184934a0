"""Home: what is running, what was made last, what this machine has, and three ways to begin."""

import shutil
from functools import cache, partial

import gradio as gr

from medley.ui import markup
from medley.ui.job_rows import job_rows
from medley.ui.numbers import size_text
from medley.ui.workspace import Workspace, attempt, shown

JOBS_SHOWN = 8
ARTIFACTS_SHOWN = 8
INTRO = "Train LoRA adapters, blend them exactly, compare them side by side, publish the best."
LOADING_JOBS = markup.section("Jobs", '<div class="m-loading"></div>')
LOADING_LATEST = markup.section("Latest artifacts", '<div class="m-loading"></div>')


def build(page: gr.Blocks, workspace: Workspace) -> None:
    head = gr.HTML(
        markup.page_head("Medley", "Train LoRA adapters, blend them exactly, compare them, publish the best.")
    )
    gr.HTML(doors(workspace.is_read_only))
    with gr.Row(elem_classes="m-columns"):
        with gr.Column(scale=2):
            jobs = gr.HTML(LOADING_JOBS, js_on_load=markup.CLICKS, elem_id="jobs")
            notice = gr.HTML()
        with gr.Column(scale=1):
            made = gr.HTML(LOADING_LATEST, elem_id="latest")
    timer = gr.Timer(2)
    page.load(partial(show, workspace), None, [jobs, made], show_progress="hidden", api_visibility="private")
    page.load(partial(machine_head, workspace), None, head, show_progress="hidden", api_visibility="private")
    timer.tick(
        partial(show, workspace), None, [jobs, made], show_progress="hidden", concurrency_id="poll",
        concurrency_limit=8, api_visibility="private",
    )  # fmt: skip

    def stop_clicked(event: gr.EventData) -> tuple[str, str]:
        return stop_job(workspace, str(event._data.get("job", "")))

    jobs.click(stop_clicked, None, [jobs, notice], show_progress="hidden", api_visibility="private")


def show(workspace: Workspace) -> tuple[str, str]:
    """The jobs and the latest artifacts."""
    return shown(lambda: jobs_card(workspace)), shown(lambda: latest_card(workspace))


def machine_head(workspace: Workspace) -> str:
    """The head with the machine's state; apart from the rest, because finding a GPU takes seconds the first time."""
    return markup.page_head("Medley", INTRO, machine(workspace))


def doors(is_read_only: bool) -> str:
    """The three ways to begin; on a read-only app those that a visitor can take."""
    ways = (
        [
            ("compare", "Compare adapters", "Ask several adapters and blends the same thing, side by side."),
            ("merge", "Blend adapters", "Move the sliders and see how alike the adapters are."),
            ("registry", "Browse the registry", "Every version, what it was made from and how it was measured."),
        ]
        if is_read_only
        else [
            ("data", "Start with the examples", "Two small datasets to train on. In a terminal: medley demo."),
            ("data", "Import data", "Bring a file of examples, see what the model will learn from it."),
            ("train", "Train an adapter", "Pick a base model and a dataset; watch the curve from any tab."),
        ]
    )
    return '<div class="m-doors">' + "".join(_door(*way) for way in ways) + "</div>"


def _door(page: str, title: str, text: str) -> str:
    href = markup.escape(markup.address(page))
    return f'<a class="m-door" href="{href}"><b>{markup.escape(title)}</b><span>{markup.escape(text)}</span></a>'


def machine(workspace: Workspace) -> str:
    """Device, free memory and free disk, as small chips."""
    import psutil

    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(workspace.registry.home)
    chips = [
        markup.chip(device_name(), "plain", "Where models run"),
        markup.chip(f"{size_text(memory.available)} of {size_text(memory.total)} memory free", "plain"),
        markup.chip(f"{size_text(disk.free)} disk free", "warn" if disk.free < 5e9 else "plain"),
    ]
    return "".join(chips)


@cache
def device_name() -> str:
    """The device that models run on, for people: "NVIDIA …", "Apple GPU" or "CPU, 2 cores"."""
    import os

    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return "Apple GPU" if torch.backends.mps.is_available() else f"CPU, {os.cpu_count()} cores"


def jobs_card(workspace: Workspace) -> str:
    """Running and recent jobs."""
    listed = workspace.jobs.list(limit=JOBS_SHOWN)
    if not listed:
        text = "Training, merging and big imports run as jobs: they go on when you close this tab."
        return markup.section("Jobs", markup.empty("No jobs yet", text))
    listed = sorted(listed, key=lambda job: job.is_finished)  # running first, otherwise the newest first
    return markup.section("Jobs", job_rows(workspace, listed))


def latest_card(workspace: Workspace) -> str:
    """The newest artifacts of any kind."""
    listed = workspace.registry.list(limit=ARTIFACTS_SHOWN)
    if not listed:
        return markup.section(
            "Latest artifacts", markup.empty("Nothing here yet", "Datasets and adapters appear here.")
        )
    items = "".join(
        f'<div class="m-item"><span>{markup.link("registry", version.label, {"name": version.name})} '
        f"{markup.chip(version.kind, 'plain')}</span><span>{markup.when(version.created)}</span></div>"
        for version in listed
    )
    return markup.section("Latest artifacts", f'<div class="m-list">{items}</div>', markup.link("registry", "All"))


def stop_job(workspace: Workspace, job_id: str) -> tuple[str, str]:
    """Ask a job to stop; the jobs again, and what went wrong if anything did."""

    def stop() -> None:
        workspace.check_writable("Stopping a job")
        workspace.jobs.stop(job_id)

    notice = attempt(stop)[1]
    return jobs_card(workspace), notice
