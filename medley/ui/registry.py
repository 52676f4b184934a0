"""Registry: every artifact by name, with search and filters; `?name=` shows one version and all that is known of it."""

from functools import partial

import gradio as gr

from hub import KINDS, Version
from medley.ui import markup, registry_actions, score_box, version_view
from medley.ui.address import keep_in_address
from medley.ui.lineage_picture import kind_text
from medley.ui.numbers import count_text, number_text, size_text
from medley.ui.workspace import Workspace, attempt, query_value

PAGE_SIZE = 50
ALL_KINDS = "all"
INTRO = "Every version of everything: what it was made from, how, and how it was measured."


def build(page: gr.Blocks, workspace: Workspace) -> None:
    head = gr.HTML(markup.page_head("Registry", INTRO), elem_id="registry-head")
    with gr.Column(elem_classes="m-panel") as listing:
        with gr.Row():
            search = gr.Textbox(label="Search", placeholder="words of a name or a base model", scale=3, max_lines=1)
            kind = gr.Dropdown([ALL_KINDS, *KINDS], value=ALL_KINDS, label="Kind", scale=1, min_width=140)
            shown = gr.Dropdown(["50", "500"], value="50", label="Names shown", scale=1, min_width=120)
        rows = gr.HTML(elem_id="registry-rows", min_height=240)
    with gr.Column(visible=False) as detail:
        view = version_view.build(workspace)
        registry_actions.build(workspace, view)
        score_box.build(workspace, view)
    filters = [search, kind, shown]
    keep_in_address({"search": search, "kind": kind})
    for each in filters:
        each.change(partial(list_rows, workspace), filters, rows, show_progress="hidden", api_visibility="private")

    def load(request: gr.Request) -> list:
        reference = query_value(request, "name")
        if not reference:
            wanted, text = query_value(request, "kind"), query_value(request, "search")
            wanted = wanted if wanted in KINDS else ALL_KINDS
            html = list_rows(workspace, text, wanted, "50")
            head_html = markup.page_head("Registry", INTRO)
            parts = [gr.skip()] * len(view.outputs)
            return [head_html, gr.Column(visible=True), gr.Column(visible=False), text, wanted, html, *parts]
        parts = version_view.show(workspace, reference)
        return [version_head(workspace, reference), gr.Column(visible=False), gr.Column(visible=True),
                gr.skip(), gr.skip(), gr.skip(), *parts]  # fmt: skip

    outputs = [head, listing, detail, search, kind, rows, *view.outputs]
    page.load(load, None, outputs, show_progress="hidden", api_visibility="private")


def list_rows(workspace: Workspace, search: str, kind: str, shown: str) -> str:
    """The newest versions that match, as a table; a sentence where there are none."""
    limit = int(shown) if shown in ("50", "500") else PAGE_SIZE
    registry = workspace.registry
    wanted = kind if kind in KINDS else None
    found, notice = attempt(lambda: registry.list(wanted, limit=limit, search=search or ""))
    if found is None:
        return notice
    if not found:
        return _nothing(is_filtered=bool(search or wanted))
    table = markup.table(
        ["Name", "Kind", "Base", "Size", "Measured", "Made"], [_row(each) for each in found], numeric=(3,)
    )
    total = registry.count(wanted)
    more = f'<p class="m-quiet">The newest {limit} of {count_text(total)} names.</p>' if len(found) == limit else ""
    return table + more


def _row(version: Version) -> list[str]:
    aliases = " ".join(markup.chip(alias, "teal") for alias in version.aliases)
    name = markup.link("registry", version.name, {"name": version.name})
    number = f'<span class="m-quiet m-mono">v{version.number}</span>'
    return [
        f"{name} {number} {aliases}",
        markup.escape(kind_text(version)),
        f'<span class="m-quiet">{markup.escape(version.metadata.get("base_name") or version.base or "–")}</span>',
        size_text(version.size_bytes) if version.kind != "base" else "–",  # a base's version holds only its record
        f'<span class="m-quiet">{markup.escape(measured(version))}</span>',
        markup.when(version.created),
    ]


def measured(version: Version) -> str:
    """The one or two numbers that say most about a version."""
    if version.kind == "dataset":
        rows = version.metadata.get("rows")
        return f"{count_text(rows)} rows" if isinstance(rows, (int, float)) else ""
    if version.kind in ("base", "model"):
        parameters = version.metadata.get("parameters")
        return f"{count_text(parameters)} parameters" if parameters else ""
    metrics = version.metadata.get("metrics") or {}
    if "energy_kept" in metrics:
        return f"{number_text(100 * metrics['energy_kept'])} % energy kept"
    name = next((each for each in ("eval_loss", "train_loss", "loss") if each in metrics), None)
    return f"{name.replace('_', ' ')} {number_text(metrics[name])}" if name else ""


def _nothing(*, is_filtered: bool) -> str:
    if is_filtered:
        return markup.empty("Nothing matches", "Take away a word or choose another kind.")
    text = "Datasets, adapters and merges appear here as soon as there are any."
    return markup.empty("The registry is empty", text, markup.button_link("data", "Import data"))


def version_head(workspace: Workspace, reference: str) -> str:
    """The heading of a version's page: its name, what it is, its aliases and its id."""
    version = attempt(lambda: workspace.version(reference))[0]
    if version is None:
        return markup.page_head("Registry", INTRO, markup.button_link("registry", "All versions"))
    chips = "".join(markup.chip(alias, "teal") for alias in version.aliases)
    side = (
        f"{markup.chip(version.kind)}{chips}{markup.digest(version.id)}{markup.button_link('registry', 'All versions')}"
    )
    note = (
        version.metadata.get("description")
        or version.metadata.get("note")
        or f"{kind_text(version)}, {size_text(version.size_bytes)}"
    )
    return markup.page_head(version.label, str(note), side)
