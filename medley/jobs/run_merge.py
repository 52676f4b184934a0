"""Does a merge job: verified inputs in, one version out, an adapter or a full model as the recipe says."""

import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medley.errors import ProblemsError
from medley.jobs.adapter_facts import adapter_facts, common
from medley.jobs.full_models import open_model
from medley.jobs.merge_inputs import input_warnings, trained_on
from medley.jobs.model_facts import model_facts
from medley.jobs.outlines import outlines, unpack_bundled
from medley.jobs.pinned_adapters import open_pinned
from medley.jobs.work import JobWork

if TYPE_CHECKING:
    from hub import Parent
    from merging import FullReport, MergeReport
    from merging.recipes.documents import Document, Kind

    Report = MergeReport | FullReport


def run(work: JobWork) -> str:
    """The id of the merged version."""
    return merge_and_register(work, work.spec.params["recipe"])


def merge_and_register(
    work: JobWork, recipe: Any, *, parents: "Sequence[Parent]" = (), facts: Mapping[str, Any] | None = None
) -> str:
    """Merge by a recipe whose names stand in the spec; the id of the result's version.

    Args:
        recipe: a mapping, or a list of them.
        parents: beside the inputs.
        facts: for the version's metadata, over those that every merge has.
    """
    from merging import merge, parse_documents
    from merging.recipes.documents import documents_to_yaml

    params = {"models": {}, "bases": {}, **work.spec.params}
    adapters, models = params["inputs"], params["models"]
    documents = parse_documents(recipe, _kind_in(adapters, models))
    folders = {name: str(open_pinned(work, kept)) for name, kept in adapters.items()}
    _check_before_download(work, documents, folders)
    folders |= {name: str(open_model(work, kept, work.emit_or_stop)) for name, kept in models.items()}
    bases = {name: str(open_model(work, kept, work.emit_or_stop)) for name, kept in params["bases"].items()}
    makes = documents[-1].makes
    out_dir = work.out_dir / makes
    shutil.rmtree(out_dir, ignore_errors=True)
    runnable = tuple(each.with_models(lambda ref: folders.get(ref, ref)) for each in documents)
    names = {folder: name for name, folder in folders.items()}  # no path of this machine gets into the result
    report = merge(runnable, out_dir, names=names, bases=bases, emit=work.emit_or_stop)
    work.emit("progress", step=1, total=1, text="Registering")
    base, revision = _base_of(work, documents[-1], params)
    about = model_facts(out_dir) if makes == "model" else adapter_facts(out_dir)
    return work.register(
        makes,
        out_dir,
        base=base,
        base_revision=revision,
        parents=[*_parents(params), *parents],
        recipe=documents_to_yaml(documents),
        facts={**_metadata(work, adapters, report, makes), **about, **(facts or {})},
    )


def _check_before_download(work: JobWork, documents: "Sequence[Document]", adapters: Mapping[str, str]) -> None:
    """Nothing, if nothing stands against the merge as far as headers tell; weights from the Hub come after this.

    Raises:
        ProblemsError: everything that does.
    """
    from merging import preflight_documents

    params = {"models": {}, "bases": {}, **work.spec.params}
    models = {**params["models"], **params["bases"]}
    if not models:
        return
    unpack_bundled(work.registry, models, work.emit_or_stop)
    with outlines(work.registry, models) as seen:
        folders = {**adapters, **{name: str(seen.folders[name]) for name in params["models"] if name in seen.folders}}
        found = preflight_documents(
            tuple(each.with_models(lambda ref: folders.get(ref, ref)) for each in documents),
            names={folder: name for name, folder in folders.items()},
            bases={name: str(seen.folders.get(name, name)) for name in params["bases"]},
            absent=[name for name in models if name not in seen.folders],
        )
    if problems := [*seen.problems, *seen.warnings, *found.problems]:
        raise ProblemsError("the merge", problems)


def _kind_in(adapters: Mapping[str, Any], models: Mapping[str, Any]) -> Any:
    return lambda ref: "adapter" if ref in adapters else "model" if ref in models else None


def _parents(params: Mapping[str, Any]) -> list["Parent"]:
    """Where the result comes from, once each: folded bases as bases, everything else as inputs."""
    from hub import Parent

    bases = [kept["version"] for kept in params["bases"].values() if "version" in kept]
    inputs = [kept["version"] for kept in (*params["inputs"].values(), *params["models"].values()) if "version" in kept]
    return [Parent(id, "base") for id in dict.fromkeys(bases)] + [
        Parent(id, "input") for id in dict.fromkeys(inputs) if id not in bases
    ]


def _base_of(work: JobWork, document: "Document", params: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(Hub id or digest, revision) of the model that the result belongs to or descends from, as far as is known."""
    kept = next(iter({**params["bases"], **params["inputs"], **params["models"]}.values()), {})
    if params["models"] and not params["bases"]:
        first = next(iter(params["models"].values()))
        kept = params["models"].get(document.recipe.donor.model, first) if document.makes == "model" else kept
    if "version" in kept and "base" not in kept:
        version = work.registry.get(f"sha256:{kept['version']}")
        return version.base, version.base_revision
    return (kept["hub_id"], kept["revision"]) if "hub_id" in kept else (kept.get("base"), kept.get("base_revision"))


def _metadata(
    work: JobWork, inputs: Mapping[str, Mapping[str, Any]], report: "Report", makes: "Kind"
) -> dict[str, Any]:
    """How the result was made; what all inputs share holds for it as well."""
    from merging import METHODS, MergeReport

    known = {
        pinned["label"]: work.registry.get(pinned["version"]).metadata if "version" in pinned else {}
        for pinned in inputs.values()
    }
    shared = ("template_hash", "base_name", "base_weights_digest", "licence") if makes == "adapter" else ("licence",)
    of_inputs = {field: common([each.get(field) for each in known.values()]) for field in shared}
    if makes == "adapter":
        of_inputs["trained_on"] = trained_on(known)
    made = {"trainer": "merge", "method": report.method, "notes": [*report.warnings, *input_warnings(known)]}
    if report.method in METHODS:
        made["paper"] = METHODS[report.method].paper
    if isinstance(report, MergeReport):
        made["metrics"] = {"energy_kept": report.energy_kept, "error": report.error}
    return {**{field: value for field, value in of_inputs.items() if value is not None}, **made}
