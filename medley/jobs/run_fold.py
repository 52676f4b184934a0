"""Does a fold job: verified adapters and their base in, one full model out: a folder, a version, or both."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.jobs.adapter_facts import common
from medley.jobs.base_names import identity_of
from medley.jobs.bases import base_folder
from medley.jobs.model_facts import model_facts
from medley.jobs.outlines import check_before_download, pinned_base
from medley.jobs.pinned_adapters import open_pinned
from medley.jobs.work import JobWork

if TYPE_CHECKING:
    from hub import Version
    from merging import FoldReport


def run(work: JobWork) -> str | None:
    """The id of the folded version, or None where only a folder was asked for."""
    from merging import FoldInput, fold, plan_fold

    params, registry = work.spec.params, work.registry
    base = registry.get(f"sha256:{params['base']}")
    inputs = [FoldInput(open_pinned(work, each), each["weight"], each["label"]) for each in params["inputs"]]
    out_dir = Path(params["out"]) if params["out"] else work.out_dir / "model"
    if not params["out"]:
        shutil.rmtree(out_dir, ignore_errors=True)
    asked = {"dtype": params["dtype"], "untie": params["untie"]}
    check_before_download(
        work, pinned_base(base), "the fold", lambda seen: plan_fold(seen["base"], inputs, out_dir, **asked).problems
    )
    base_dir = base_folder(registry, base, work.emit_or_stop)
    base = work.input(base.id)  # its digest is known since its folder was opened
    known_as, revision = identity_of(base)
    report = fold(
        base_dir,
        inputs,
        out_dir,
        **asked,
        base_model=known_as,
        revision=revision,
        recipe=recipe_text(params, known_as, revision),
        notes=_notes(work, base, params["inputs"]),
        emit=work.emit_or_stop,
        **({"shard_bytes": params["shard_bytes"]} if params["shard_bytes"] else {}),
    )
    return _publish(work, base, out_dir, report) if work.spec.output_name else None


def _publish(work: JobWork, base: "Version", out_dir: Path, report: "FoldReport") -> str:
    from hub import Parent

    work.emit("progress", step=1, total=1, text="Registering")
    inputs = work.spec.params["inputs"]
    known = [work.registry.get(each["version"]).metadata if "version" in each else {} for each in inputs]
    licence = common([each.get("licence") for each in known])
    return work.register(
        "model",
        out_dir,
        base=base.base,
        base_revision=base.base_revision,
        parents=[
            Parent(base.id, "base"),
            *(Parent(each["version"], "input") for each in inputs if "version" in each),
        ],
        recipe=(out_dir / "recipe.yaml").read_text(encoding="utf-8"),
        facts={
            **model_facts(out_dir),
            "trainer": "fold",
            "method": "fold",
            "base_name": base.name,
            "base_weights_digest": base.metadata.get("weights_digest"),
            "notes": list(report.warnings),
            **({"licence": licence} if licence else {}),
        },
    )


def recipe_text(params: Mapping[str, Any], base: str, revision: str | None) -> str:
    """What was folded into what, by content, and how; no folder of this machine."""
    import yaml

    labels = [each["label"] for each in params["inputs"]]
    named = {_name_of(each, labels.count(each["label"]) == 1): each["weight"] for each in params["inputs"]}
    said = {"base": base, "revision": revision, "adapters": named, "dtype": params["dtype"], "untie": params["untie"]}
    kept = {key: value for key, value in said.items() if value not in (None, False)}
    return yaml.safe_dump({"fold": kept}, sort_keys=False, width=120)


def _name_of(kept: Mapping[str, Any], is_alone: bool) -> str:
    """A version by its id; a folder by its name, with its digest where there are two of that name."""
    if "version" in kept:
        return f"sha256:{kept['version']}"
    return kept["label"] if is_alone else f"{kept['label']}-{kept['weights_sha256'][:8]}"


def _notes(work: JobWork, base: "Version", inputs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the weights underneath were, where that is not plain: the choice matters to adapters trained on 4 bits."""
    digest = str(base.metadata.get("weights_digest", ""))[:8]
    notes = []
    for each in inputs:
        facts = work.registry.get(each["version"]).metadata if "version" in each else {}
        if facts.get("trained_on") == "nf4":
            notes.append(
                f"{each['label']} was trained on {base.label} in 4 bits (nf4) and is folded into its unquantised "
                f"weights (sha256 {digest})."
            )
    note = base.metadata.get("note")
    return [*notes, f"Base: {note}"] if note else notes
