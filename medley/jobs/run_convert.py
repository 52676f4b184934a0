"""Does a conversion: a verified adapter of any kind with a weight delta in, a plain LoRA version out."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.jobs.adapter_facts import adapter_facts
from medley.jobs.bases import base_folder
from medley.jobs.outlines import check_before_download, pinned_base
from medley.jobs.pinned_adapters import open_pinned
from medley.jobs.work import JobWork

if TYPE_CHECKING:
    from hub import Version
    from merging import ConvertReport

CARRIED = ("trained_on", "template_hash", "base_name", "base_weights_digest", "licence")  # true of the result as well


def run(work: JobWork) -> str:
    """The id of the converted version."""
    from medley.options import from_mapping
    from merging import ConvertOptions, convert_adapter, convert_preflight

    params, registry = work.spec.params, work.registry
    source = params["adapter"]
    adapter = open_pinned(work, source)
    options = from_mapping(ConvertOptions, params["options"])
    base = registry.get(f"sha256:{params['base']}") if params["base"] else None
    out_dir = work.out_dir / "adapter"
    shutil.rmtree(out_dir, ignore_errors=True)
    if base is not None:
        check_before_download(
            work,
            pinned_base(base),
            "the conversion",
            lambda seen: (
                convert_preflight(adapter, options, base=seen["base"], name=source["label"], out_dir=out_dir).problems
            ),
        )
    folder = base_folder(registry, base, work.emit_or_stop) if base else None
    known = registry.get(source["version"]).metadata if "version" in source else {}
    notes = _doubts(known, registry.get(base.id)) if base else []
    for note in notes:
        work.emit("warning", text=note)
    report = convert_adapter(
        adapter, out_dir, options, base=folder, name=source["label"], emit=work.emit_or_stop
    )  # fmt: skip
    return _register(work, out_dir, base, _metadata(known, report, notes))


def _register(work: JobWork, folder: Path, base: "Version | None", facts: Mapping[str, Any]) -> str:
    from hub import Parent

    work.emit("progress", step=1, total=1, text="Registering")
    source = work.spec.params["adapter"]
    parents = [Parent(source["version"], "input")] if "version" in source else []
    return work.register(
        "adapter",
        folder,
        base=source["base"],
        base_revision=source["base_revision"],
        parents=[*parents, *([Parent(base.id, "base")] if base else [])],
        recipe=recipe_text(work.spec.params),
        facts={**adapter_facts(folder), **facts},
    )


def recipe_text(params: Mapping[str, Any]) -> str:
    """What was converted, by content, and how; no folder of this machine."""
    import yaml

    source = params["adapter"]
    named = f"sha256:{source['version']}" if "version" in source else source["label"]
    recipe = {"convert": {"adapter": named, "to": "lora", **params["options"]}}
    return yaml.safe_dump(recipe, sort_keys=False, width=120)


def _doubts(known: Mapping[str, Any], base: "Version") -> list[str]:
    """The delta of such an adapter is only right beside the very weights that it was trained on."""
    then, now = known.get("base_weights_digest"), base.metadata.get("weights_digest")
    if None in (then, now) or then == now:
        return []
    return [f"The adapter was trained on other weights ({str(then)[:8]}) than {base.label} has now ({str(now)[:8]})."]


def _metadata(known: Mapping[str, Any], report: "ConvertReport", notes: list[str]) -> dict[str, Any]:
    return {
        **{field: known[field] for field in CARRIED if known.get(field) is not None},
        "trainer": "convert",
        "method": report.kind,
        "metrics": {"energy_kept": report.energy_kept, "error": report.error},
        "notes": [*notes, *report.warnings],
    }
