"""Does a merge job: verified inputs in, one adapter version out."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.jobs.adapter_facts import adapter_facts, common
from medley.jobs.merge_inputs import input_warnings, trained_on
from medley.jobs.pinned_adapters import open_pinned
from medley.jobs.work import JobWork

if TYPE_CHECKING:
    from merging import MergeReport


def run(work: JobWork) -> str:
    """The id of the merged version."""
    from hub import Parent
    from merging import merge, parse_recipe

    inputs = work.spec.params["inputs"]
    folders = {name: open_pinned(work, pinned) for name, pinned in inputs.items()}
    recipe = parse_recipe(work.spec.params["recipe"])
    out_dir = work.out_dir / "adapter"
    runnable = recipe.with_models(lambda name: str(folders[name]))
    names = {str(folder): name for name, folder in folders.items()}  # no path of this machine gets into the result
    report = merge(runnable, out_dir, names=names, emit=work.emit_or_stop)
    work.emit("progress", step=1, total=1, text="Registering")
    first = next(iter(inputs.values()))
    version = work.registry.publish(
        "adapter",
        work.spec.output_name,
        out_dir,
        base=first["base"],
        base_revision=first["base_revision"],
        parents=[Parent(pinned["version"], "input") for pinned in inputs.values() if "version" in pinned],
        recipe=recipe.to_yaml(),
        metadata={**_metadata(work, out_dir, inputs, report), "job": work.job.id},
    )
    return version.id


def _metadata(
    work: JobWork, out_dir: Path, inputs: Mapping[str, Mapping[str, Any]], report: "MergeReport"
) -> dict[str, Any]:
    """The facts of the result; what all inputs share holds for it as well."""
    from merging import METHODS

    known = {
        pinned["label"]: work.registry.get(pinned["version"]).metadata if "version" in pinned else {}
        for pinned in inputs.values()
    }
    shared = ("template_hash", "base_name", "base_weights_digest", "licence")
    of_inputs = {field: common([each.get(field) for each in known.values()]) for field in shared}
    of_inputs["trained_on"] = trained_on(known)
    return {
        **adapter_facts(out_dir),
        **{field: value for field, value in of_inputs.items() if value is not None},
        "trainer": "merge",
        "method": report.method,
        "paper": METHODS[report.method].paper,
        "metrics": {"energy_kept": report.energy_kept, "error": report.error},
        "notes": [*report.warnings, *input_warnings(known)],
    }
