"""One version on the registry page: lineage, card, files, recipe, metrics. What changes is in registry_actions."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from hub import Version
from medley.jobs.weightings import weightings_table
from medley.ui import markup
from medley.ui.lineage_picture import lineage_picture
from medley.ui.numbers import count_text, number_text, size_text
from medley.ui.type_report_view import is_type_report, report_view
from medley.ui.workspace import Workspace, attempt, shown

HIDDEN_FIELDS = {
    "metrics",
    "notes",
    "description",
    "folder",
    "learned_weights",
}  # shown elsewhere, or nobody's business
SIZES, COUNTS = {"size_bytes"}, {"parameters", "rows"}


@dataclass(frozen=True)
class VersionView:
    """The components of a version's page that are filled when it is shown, and columns for what can be done."""

    reference: gr.Textbox
    lineage: gr.HTML
    facts: gr.HTML
    card: gr.HTML
    files: gr.HTML
    recipe: gr.HTML
    versions: gr.HTML
    score: gr.Column
    use: gr.Column
    change: gr.Column

    @property
    def outputs(self) -> list[Any]:
        return [self.reference, self.lineage, self.facts, self.card, self.files, self.recipe, self.versions]


def build(workspace: Workspace) -> VersionView:
    reference = gr.Textbox(visible=False)
    lineage = gr.HTML(elem_id="lineage", min_height=120)
    with gr.Row(elem_classes="m-columns"):
        with gr.Column(scale=2):
            score = gr.Column(elem_classes="m-panel", visible=False)
            with gr.Column(elem_classes="m-panel"), gr.Tabs():
                with gr.Tab("Card"):
                    card = gr.HTML(elem_id="version-card")
                with gr.Tab("Files"):
                    files = gr.HTML(elem_id="version-files")
                with gr.Tab("Recipe"):
                    recipe = gr.HTML(elem_id="version-recipe")
                with gr.Tab("Versions"):
                    versions = gr.HTML(elem_id="version-versions")
        with gr.Column(scale=1):
            use = gr.Column(elem_classes="m-panel")
            facts = gr.HTML(elem_id="version-facts")
            change = gr.Column()
    return VersionView(reference, lineage, facts, card, files, recipe, versions, score, use, change)


def show(workspace: Workspace, reference: str) -> list[Any]:
    """Values for `VersionView.outputs`; a sentence in the place of the picture when there is no such version."""
    version, notice = attempt(lambda: workspace.version(reference))
    if version is None:
        return ["", notice, "", "", "", "", ""]
    return [
        version.label,
        markup.section("Lineage", shown(lambda: lineage_picture(workspace.registry.lineage(version.label)))),
        markup.section("About", about(version)) + metrics_card(version) + weightings_card(version),
        shown(lambda: card(workspace, version)),
        shown(lambda: files_table(workspace, version)),
        markup.code_block(version.recipe) if version.recipe else _no_recipe(),
        shown(lambda: versions_table(workspace, version)),
    ]


def _no_recipe() -> str:
    return markup.empty("No recipe", "This version was imported; nobody wrote down how it was made.")


def about(version: Version) -> str:
    """What is on record, name by name."""
    pairs = [("Made", markup.when(version.created)), ("Size", size_text(version.size_bytes))]
    if version.base:
        pairs.append(("Base", markup.escape(version.base)))
    if version.base_revision:
        pairs.append(("Revision", markup.digest(version.base_revision)))
    for name, value in sorted(version.metadata.items()):
        if name not in HIDDEN_FIELDS and name not in {"base", "size_bytes"} and value not in (None, "", [], {}):
            pairs.append((name.replace("_", " ").capitalize(), _value(name, value)))
    notes = "".join(markup.notice("warn", str(note)) for note in version.metadata.get("notes") or [])
    return markup.facts(pairs) + notes


def _value(name: str, value: Any) -> str:
    if name in SIZES and isinstance(value, (int, float)):
        return size_text(value)
    if isinstance(value, str) and len(value) == 64 and all(letter in "0123456789abcdef" for letter in value):
        return markup.digest(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return count_text(value) if name in COUNTS else number_text(value)
    if isinstance(value, dict):
        return "<br>".join(f"{markup.escape(key)}: {_value(name, part)}" for key, part in list(value.items())[:12])
    if isinstance(value, (list, tuple)):
        return markup.escape(", ".join(str(part) for part in value[:12]) + (" …" if len(value) > 12 else ""))
    return markup.escape(str(value)[:400])


def metrics_card(version: Version) -> str:
    """What was measured on it, if anything was."""
    metrics = version.metadata.get("metrics") or {}
    if not metrics:
        return ""
    rows = [[markup.escape(name.replace("_", " ").capitalize()), _measured(value)] for name, value in metrics.items()]
    return markup.section("Measured", markup.table(["Metric", "Value"], rows, numeric=(1,)))


def weightings_card(version: Version) -> str:
    """Of weights that were learned from data: every weighting that was measured beside them, and which is best."""
    report = version.metadata.get("learned_weights")
    if not report:
        return ""
    headers, rows = weightings_table(report)
    cells = [[markup.escape(cell) for cell in row] for row in rows]
    verdict = "Better" if report["is_better"] else "No better"
    said = f"{verdict} than the best plain weights, on rows that were not learned from."
    table = markup.table([header.capitalize() for header in headers], cells, numeric=range(1, len(headers) - 1))
    return markup.section("Learned weights", f'<p class="m-quiet m-gap">{said}</p>{table}')


def _measured(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return markup.escape(value)
    return count_text(value) if value >= 1000 and float(value).is_integer() else number_text(value)


def card(workspace: Workspace, version: Version) -> str:
    """The model card as it would be published, as text: nothing in it is run or loaded. Of a report, its tables."""
    if is_type_report(version):
        return report_view(version)
    from hub.card import CARDS, build_card

    if version.kind not in CARDS:
        text = "Adapters, models and datasets have a card; it is written from what the registry knows."
        return markup.empty("No card", text)
    return markup.code_block(build_card(workspace.registry, version), wrap=True)


def files_table(workspace: Workspace, version: Version) -> str:
    """Every file with its size and digest."""
    rows = [
        [
            f"<span class=m-mono>{markup.escape(each.path)}</span>",
            size_text(each.size_bytes),
            markup.digest(each.sha256),
        ]
        for each in workspace.registry.files(version.id)
    ]
    return markup.table(["File", "Size", "sha256"], rows, numeric=(1,))


def versions_table(workspace: Workspace, version: Version) -> str:
    """All versions of the name, the latest first."""
    rows = []
    for each in workspace.registry.versions(version.name):
        aliases = " ".join(markup.chip(alias, "teal") for alias in each.aliases)
        label = markup.link("registry", each.label, {"name": each.label})
        rows.append(
            [f"{label} {aliases}", size_text(each.size_bytes), markup.when(each.created), markup.digest(each.id)]
        )
    return markup.table(["Version", "Size", "Made", "Id"], rows, numeric=(1,))
