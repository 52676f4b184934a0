"""The publish page's handlers: the card, the plan with its checks, the dry run and the push itself."""

import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from medley.errors import HubError, ParameterError
from medley.ui import markup
from medley.ui.numbers import plural, size_text
from medley.ui.workspace import Workspace, attempt, shown

if TYPE_CHECKING:
    from hub.plan import PushPlan

PLACEHOLDER_REPO = "your-name/{name}"
KINDS = ("adapter", "model", "dataset")  # what can be published, in the order of the choice


def choices(workspace: Workspace) -> list[tuple[str, str]]:
    """(what the choice shows, name) of everything that can be published; an adapter is shown by its name alone."""
    shown_as = {"adapter": "{name}", "model": "{name} (model)", "dataset": "{name} (dataset)"}
    return [(shown_as[kind].format(name=name), name) for kind in KINDS for name in workspace.names(kind)]


def opened(workspace: Workspace, reference: str, repo: str) -> list[Any]:
    """Values for version, repo, card, the card as written, and the plan, as the page is opened."""
    offered = choices(workspace)
    names = [name for _, name in offered]
    chosen = reference or (names[0] if names else "")
    if not chosen:
        text = "Train an adapter, merge, or import a dataset first; each can be published from here."
        empty = markup.section(
            "Plan", markup.empty("Nothing to publish yet", text, markup.button_link("train", "Train"))
        )
        return [gr.Dropdown([], value=None), "", "", "", empty]
    offered = offered if chosen in names else [(chosen, chosen), *offered]
    card, written = write_card(workspace, chosen, repo, "", "")
    plan = plan_html(workspace, chosen, repo, "private", card)
    return [gr.Dropdown(offered, value=chosen), repo or gr.skip(), card, written, plan]


def write_card(workspace: Workspace, reference: str, repo: str, card: str, written: str) -> tuple[Any, Any]:
    """The card for this version and repo, unless somebody changed the one that is there; and the card as written."""
    if card.strip() and card != written:
        return gr.skip(), gr.skip()

    def write() -> str:
        from hub.card import build_card

        version = workspace.version(reference)
        return build_card(workspace.registry, version, (repo or "").strip() or None)

    text = attempt(write)[0] or ""
    return text, text


def make_plan(workspace: Workspace, reference: str, repo: str, visibility: str, card: str) -> "PushPlan":
    """What a push would upload; made without the network."""
    from hub.plan import plan_push

    version = workspace.version(reference)
    wanted = (repo or "").strip() or PLACEHOLDER_REPO.format(name=version.name)
    is_private = visibility != "public"
    return plan_push(
        workspace.registry,
        version.label,
        wanted,
        private=is_private,
        card=card.strip() + "\n" if card.strip() else None,
    )


def plan_html(workspace: Workspace, reference: str, repo: str, visibility: str, card: str) -> str:
    """Files and checks of the plan, as two cards."""
    return shown(lambda: draw_plan(make_plan(workspace, reference, repo, visibility, card)))


def draw_plan(plan: "PushPlan") -> str:
    """Checks and files, as HTML."""
    checks = "".join(
        f'<div class="m-check">{markup.chip(check.outcome)}<div><b>{markup.escape(check.name)}</b> '
        f"{markup.escape(check.sentence)}</div></div>"
        for check in plan.checks
    )
    rows = [
        [
            f'<span class="m-mono">{markup.escape(file.path)}</span>',
            size_text(file.size_bytes),
            markup.digest(file.sha256),
        ]
        for file in plan.files
    ]
    total = f"{plural(len(plan.files), 'file')}, {size_text(plan.total_bytes)}"
    files = markup.table(["File", "Size", "sha256"], rows, numeric=(1,))
    return markup.section("Checks", checks) + markup.section("Files", files, markup.escape(total))


def dry_run(workspace: Workspace, reference: str, repo: str, visibility: str, card: str) -> tuple[Any, str]:
    """The plan, and one sentence about what a push would do."""
    plan, problem = attempt(lambda: make_plan(workspace, reference, repo, visibility, card))
    if plan is None:
        return gr.skip(), problem
    if plan.refusals:
        return draw_plan(plan), markup.notice("bad", "It cannot be published: " + " ".join(plan.refusals))
    where = "dataset repo" if plan.repo_type == "dataset" else "repo"
    text = (
        f"A push would upload {plural(len(plan.files), 'file')} ({size_text(plan.total_bytes)}) to the "
        f"{plan.visibility} {where} {plan.repo_id} and tag them {plan.tag}. Nothing was sent."
    )
    return draw_plan(plan), markup.notice("good", text)


def publish(
    workspace: Workspace, reference: str, repo: str, visibility: str, card: str, token: str
) -> Iterator[tuple[str, str]]:
    """Push; yields the notice and an empty token field. The push goes on to its end when the tab is closed."""
    events: queue.Queue[str | None] = queue.Queue()
    result: list[tuple[str | None, str]] = []

    def run() -> None:
        result.append(attempt(lambda: _push(workspace, reference, repo, visibility, card, token, events)))
        events.put(None)

    threading.Thread(target=run, name="push", daemon=True).start()
    yield markup.notice("plain", "Publishing begins."), ""
    while (text := events.get()) is not None:
        yield markup.notice("plain", text), ""
    done, problem = result[0]
    yield done or problem, ""


def _push(
    workspace: Workspace, reference: str, repo: str, visibility: str, card: str, token: str, events: queue.Queue
) -> str:
    from hub.push import push

    if not (repo or "").strip():
        raise ParameterError("Name the repo on the Hub first, for example your-name/pirate.")
    if not (token or "").strip():
        raise HubError("A push needs your access token with write access: https://huggingface.co/settings/tokens.")
    plan = make_plan(workspace, reference, repo, visibility, card)

    def tell(kind: str, **fields: Any) -> None:
        if fields.get("text"):
            events.put(str(fields["text"]))

    result = push(workspace.registry, plan, token=token.strip(), endpoint=workspace.hub_endpoint, emit=tell)
    return (
        f'<div class="m-notice m-good" role="status">Published as {markup.escape(plan.repo_id)}, tagged '
        f"{markup.escape(plan.tag)}, commit {markup.escape(str(result.commit)[:8])}. "
        f"{markup.escape(str(result.url))}</div>"
    )
