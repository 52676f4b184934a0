"""Does an extraction: a base and a full model in, one adapter version out."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.jobs.adapter_facts import adapter_facts
from medley.jobs.base_names import identity_of
from medley.jobs.bases import base_folder
from medley.jobs.build_extract import pinned_pair
from medley.jobs.full_models import open_model
from medley.jobs.outlines import check_before_download
from medley.jobs.work import JobWork

if TYPE_CHECKING:
    from hub import Version
    from merging import ExtractReport

PAPER = "arXiv:1504.05477"  # Musco and Musco: randomized block Krylov methods


def run(work: JobWork) -> str:
    """The id of the extracted version."""
    from medley.options import from_mapping
    from merging import ExtractOptions, extract_adapter, extract_preflight

    params = work.spec.params
    base = work.registry.get(f"sha256:{params['base']}")
    options = from_mapping(ExtractOptions, params["options"])
    check_before_download(
        work,
        pinned_pair(base, params["model"]),
        "the extraction",
        lambda seen: extract_preflight(seen["base"], seen["model"], options).problems,
    )
    folder = base_folder(work.registry, base, work.emit_or_stop)
    base_id, base_revision = identity_of(base)
    model = open_model(work, params["model"], work.emit_or_stop)
    out_dir = work.out_dir / "adapter"
    shutil.rmtree(out_dir, ignore_errors=True)
    report = extract_adapter(
        folder,
        model,
        out_dir,
        options,
        base_model=base_id,
        revision=base_revision,
        emit=work.emit_or_stop,
    )
    return _register(work, out_dir, work.registry.get(base.id), report)


def _register(work: JobWork, folder: Path, base: "Version", report: "ExtractReport") -> str:
    from hub import Parent

    work.emit("progress", step=1, total=1, text="Registering")
    model, (base_id, base_revision) = work.spec.params["model"], identity_of(base)
    inputs = [Parent(model["version"], "input")] if model.get("version", base.id) != base.id else []
    return work.register(
        "adapter",
        folder,
        base=base_id,
        base_revision=base_revision,
        parents=[Parent(base.id, "base"), *inputs],
        recipe=recipe_text(work),
        facts={**adapter_facts(folder), **_metadata(base, report)},
    )


def recipe_text(work: JobWork) -> str:
    """What was extracted from what, by content, and how; no folder of this machine."""
    import yaml

    params = work.spec.params
    model = params["model"]
    if "version" in model:
        named = f"sha256:{model['version']}"
    else:
        named = f"{model['hub_id']}@{model['revision']}" if "hub_id" in model else model["label"]
    recipe = {"extract": {"base": f"sha256:{params['base']}", "model": named, **params["options"]}}
    return yaml.safe_dump(recipe, sort_keys=False, width=120)


def _metadata(base: "Version", report: "ExtractReport") -> dict[str, Any]:
    return {
        "trainer": "extract",
        "paper": PAPER,
        "metrics": {"energy_kept": report.energy_kept, "error": report.error},
        "base_name": base.name,
        "base_weights_digest": base.metadata.get("weights_digest"),
        "notes": list(report.warnings),
    }
