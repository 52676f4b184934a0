"""The pictures of a merge before it is made: likeness, spectrum with the rank cut, norms by layer, opposed signs.

The numbers come from one reading of the adapters, kept while only the rank changes; so the cut follows the slider.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from medley.ui import charts, markup
from medley.ui.merge_form import look, plan, read
from medley.ui.numbers import count_text, duration_text, number_text, size_text
from medley.ui.workspace import Workspace, attempt

if TYPE_CHECKING:
    from medley.jobs.build_merge import MergePlan
    from merging import Diagnosis

DIRECTION, WRITTEN, READ = "Direction", "What they write", "What they read"
LIKENESS = {  # what a heat map shows, and how to read it
    DIRECTION: "Cosine of the changes: 1 pulls the same way, 0 is unrelated, below 0 they disturb each other.",
    WRITTEN: "Shared output directions: 1 is the same space, 0 are spaces that never meet. Where it is low, adapters "
    "hardly get in each other's way.",
    READ: "Shared input directions: 1 is the same space. Adapters trained from one seed read nearly the same.",
}
SHARES = (90, 95, 99)  # percent
TONES = ("teal", "amber", "plum", "stone")
NO_CUT = "Every direction stays: nothing is cut but rounding."
COMPRESSED = "compressed"  # here the rank is the size of the space, so that another rank is another result
MAX_KEPT = 16
KEPT: "OrderedDict[str, Diagnosis]" = OrderedDict()
ESTIMATE_LATER = '<p class="m-quiet">Time and memory are shown as soon as nothing stands in the way.</p>'
NOT_CHOSEN = "Shown as soon as adapters are chosen."
REFUSED = "Shown as soon as nothing stands against the merge; the preflight says what does."
ALONE = "One adapter has nothing to be compared with. Choose another."


@dataclass(frozen=True)
class Spectrum:
    """What the rank's slider cuts: the share of the energy that each rank keeps, and what the picture does not show."""

    energies: Sequence[float] = ()
    note: str = ""


def blank(text: str) -> str:
    """The place of a picture that cannot be drawn, as high as the picture, with the reason."""
    return f'<div class="m-chart m-blank"><span>{markup.escape(text)}</span></div>'


def blanks(text: str) -> tuple[str, str, str]:
    """Likeness, spectrum and layers without numbers."""
    return blank(text), markup.section("What a rank keeps", blank(text)), markup.section("Where they act", blank(text))


def _nothing(text: str, space: str = "") -> list[Any]:
    """No pictures, and a slider that rests; but in a compressed space a rank may be what is missing."""
    likeness, spectrum, layers = blanks(text)
    slider = gr.Slider(interactive=space == COMPRESSED)
    return [likeness, spectrum, slider, layers, ESTIMATE_LATER, Spectrum()]


def draw(workspace: Workspace, kind: str, *values: Any) -> list[Any]:
    """Likeness, spectrum, rank slider, layers, estimate and the spectrum that the slider cuts; weights are read."""
    if not values[0]:
        return _nothing(NOT_CHOSEN)
    found, _ = attempt(lambda: plan(workspace, read(values)))
    if found is None or found.findings.problems:  # what is wrong stands in the preflight
        return _nothing(REFUSED, values[-3])
    diagnosis, problem = attempt(lambda: diagnosis_of(found))
    if diagnosis is None:
        return [problem, *_nothing(REFUSED)[1:]]
    rank, spectrum = chosen_rank(found, diagnosis), Spectrum(diagnosis.energy, _about_spectrum(found, diagnosis))
    chosen = rank if found.recipe.rank.kind == "at_most" else 0
    highest = max(1, len(spectrum.energies), _ranks_together(found))
    slider = gr.Slider(maximum=highest, value=chosen, interactive=True)
    return [likeness_html(diagnosis, kind), spectrum_html(spectrum, rank), slider, layers_html(diagnosis),
            estimate_html(diagnosis), spectrum]  # fmt: skip


def diagnosis_of(found: "MergePlan") -> "Diagnosis":
    """The diagnosis of a plan; the same inputs, method and weights are read once, whatever rank is looked at."""
    from medley.jobs import diagnose_plan
    from merging.recipes.recipe import RankRule

    # Inputs are named by their content in the recipe; a compressed space is as large as the rank says.
    rank = found.recipe.rank if found.recipe.named_space == COMPRESSED else RankRule()
    key = replace(found.recipe, rank=rank).to_yaml()
    if key not in KEPT:
        KEPT[key] = diagnose_plan(found)
        while len(KEPT) > MAX_KEPT:
            KEPT.popitem(last=False)
    return KEPT[key]


def chosen_rank(found: "MergePlan", diagnosis: "Diagnosis") -> int:
    """The rank that the recipe cuts to; for a share of the energy the one that all modules need; 0 for no cut."""
    rule = found.recipe.rank
    if rule.kind == "at_most":
        return min(int(rule.value), len(diagnosis.energy))
    return diagnosis.rank_for(rule.value) if rule.kind == "energy" else 0


def likeness_html(diagnosis: "Diagnosis", kind: str) -> str:
    """The heat map of one kind of likeness, and how often signs are opposed."""
    if len(diagnosis.names) < 2:
        return blank(ALONE)
    matrix = {DIRECTION: diagnosis.cosines, WRITTEN: diagnosis.output_overlap, READ: diagnosis.input_overlap}[kind]
    heat = charts.heat_map(diagnosis.names, matrix) + f'<p class="m-quiet">{markup.escape(LIKENESS[kind])}</p>'
    conflict = diagnosis.conflict
    if conflict is not None:
        count = len(diagnosis.names)
        chance = 100 * (1 - 2 ** (1 - count))
        share = f"{100 * conflict.share:.1f} ± {max(0.1, 100 * conflict.standard_error):.1f} %"
        text = f"Opposed signs in <b>{share}</b> of the entries; unrelated adapters: {chance:.3g} %."
        heat += f'<p class="m-quiet">{text}</p>'
    return heat


def spectrum_html(spectrum: Spectrum, rank: int) -> str:
    """What is kept and what is lost when every module is cut to a rank; the chosen one as a line, in numbers below."""
    energies = spectrum.energies
    if not energies:
        return markup.section("What a rank keeps", '<p class="m-quiet">The result is zero everywhere.</p>')
    kept = [(i + 1, 100 * share) for i, share in enumerate(energies)]
    lost = [(i, 100 * _error(share / 100)) for i, share in kept]
    curve = charts.line_chart(
        [charts.Series("energy kept", kept), charts.Series("error", lost, "amber")],
        x_name="rank", y_name="share", unit=" %", marks=[charts.Mark(rank, f"rank {rank}")] if rank else [],
    )  # fmt: skip
    text = cut_text(energies, rank)
    ranks = ", ".join(f"{share} % at rank {_rank_for(energies, share / 100)}" for share in SHARES)
    lines = [f'<p class="m-cut">{markup.escape(text)}</p>', f'<p class="m-quiet">Of the energy: {ranks}.</p>']
    lines += [f'<p class="m-quiet">{spectrum.note}</p>'] if spectrum.note else []
    return markup.section("What a rank keeps", curve + "".join(lines))


def cut_text(energies: Sequence[float], rank: int) -> str:
    """What a cut to a rank does, in a sentence."""
    if not rank:
        return NO_CUT
    share = energies[min(rank, len(energies)) - 1]
    return f"Rank {rank} keeps {100 * share:.3g} % of the energy; error {100 * _error(share):.3g} %."


def cut(spectrum: Spectrum, rank: float) -> tuple[Any, str]:
    """After the rank's slider: the spectrum with its line, and the rank as the recipe has it."""
    shown = spectrum_html(spectrum, int(rank)) if spectrum.energies else gr.skip()
    return shown, rank_text(rank)


def look_cut(workspace: Workspace, rank: float, *values: Any) -> list[str]:
    """Preflight and recipe with the rank of the slider."""
    return look(workspace, *values[:-4], rank_text(rank), *values[-3:])


def draw_cut(workspace: Workspace, kind: str, rank: float, *values: Any) -> list[Any]:
    """When the rank's slider is let go: all pictures anew where the rank shapes the result; elsewhere they stand.

    The slider is set once more: pictures that were still being drawn when it was moved have put it back.
    """
    if values[-3] != COMPRESSED:
        return [gr.skip(), gr.skip(), gr.Slider(value=rank), gr.skip(), gr.skip(), gr.skip()]
    return draw(workspace, kind, *values[:-4], rank_text(rank), *values[-3:])


def rank_text(rank: float) -> str:
    """The slider's rank as a recipe has it."""
    return str(int(rank)) if rank else "auto"


def _ranks_together(found: "MergePlan") -> int:
    """The largest size that a compressed space of these inputs can have; 0 for other merges."""
    if found.recipe.named_space != COMPRESSED:
        return 0
    adapters = list(found.findings.adapters.values())
    return max((plan.rank_sum(adapters) for plan in found.findings.modules), default=0)


def layers_html(diagnosis: "Diagnosis") -> str:
    """The norm of each adapter and of the result, layer by layer, and what the merge will take."""
    numbered = [(int(layer.name), layer) for layer in diagnosis.layers if layer.name.isdecimal()]
    series = [
        charts.Series(name, [(at, layer.adapters[i]) for at, layer in numbered], TONES[i % 4], i >= len(TONES))
        for i, name in enumerate(diagnosis.names)
    ]
    series.append(charts.Series("result", [(at, layer.result) for at, layer in numbered], "ink"))
    outside = [(layer.name, layer) for layer in diagnosis.layers if not layer.name.isdecimal()]
    rows = [
        [markup.escape(name), *(number_text(each) for each in layer.adapters), number_text(layer.result)]
        for name, layer in outside
    ]
    table = markup.table(["outside", *diagnosis.names, "result"], rows) if rows else ""
    chart = charts.line_chart(series, x_name="layer", y_name="size of the change", is_low=len(numbered) < 2)
    return markup.section("Where they act", chart + table)


def estimate_html(diagnosis: "Diagnosis") -> str:
    """Time and memory of the merge, in one line for the place where it is started."""
    seconds, cost = diagnosis.cost.seconds, diagnosis.cost
    shown = f"about {duration_text(seconds)}" if seconds >= 1 else "less than a second"
    text = f"Takes {shown} once it has started, and about {size_text(cost.peak_bytes)} of memory beside the libraries."
    return f'<p class="m-quiet">{text}</p>'


def _about_spectrum(found: "MergePlan", diagnosis: "Diagnosis") -> str:
    """What the spectrum does not show."""
    if found.recipe.named_space == COMPRESSED:
        return "Shown is the sum of the compressed deltas; what compressing them loses is not in it."
    return "Shown is the rule in space core; entry by entry the spectrum is longer." * diagnosis.is_core_spectrum


def _error(share: float) -> float:
    return max(0.0, 1 - share) ** 0.5


def _rank_for(energies: Sequence[float], share: float) -> str:
    rank = next((i for i, kept in enumerate(energies, start=1) if kept >= share - 1e-12), len(energies))
    return count_text(rank)
