"""A recipe from beginning to end: one merge, or several of which later ones use the results of earlier ones.

What each merge does is in run.py (adapters), full_models/run.py (full models) and folding/run.py (an adapter into its
base); results that are only needed on the way live beside the result for as long as it takes.
"""

import dataclasses
import json
import os.path
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medley.errors import ProblemsError
from medley.events import Emit, ignore_event
from medley.lm.importing import import_quickly
from merging.checks.compatibility import short_names
from merging.full_models.recipe import FullRecipe
from merging.full_models.report import FullReport
from merging.recipes.documents import Document, documents_to_yaml, parse_documents
from merging.recipes.recipe import Recipe
from merging.report import FILE_NAME, MergeReport
from merging.run import RECIPE_FILE, merge_adapters
from merging.staging import put_in_place, scratch_folder
from merging.steps_check import preflight_documents

Report = MergeReport | FullReport


@dataclasses.dataclass(frozen=True)
class _Place:
    """What a merge needs beside its recipe: names for folders, folders for bases, and whom to tell."""

    names: Mapping[str, str]
    bases: Mapping[str, str]
    emit: Emit


def merge(
    recipe: Any,
    out_dir: Path | str,
    *,
    names: Mapping[str, str] | None = None,
    bases: Mapping[str, str] | None = None,
    emit: Emit = ignore_event,
) -> Report:
    """Do what a recipe says: its result appears at `out_dir`; what was done is reported.

    Adapters are merged into an adapter, or with `output: model` into a copy of their base; full models are merged on
    mergekit. Neither registry, home folder nor network is needed.

    Args:
        recipe: a mapping, a list of mappings, a path, YAML text (a str with a newline), or what is parsed already; its
            models are folders.
        out_dir: absent or empty; appears at the end by one rename, with recipe.yaml and merge_report.json.
        names: what recipe.yaml and the report call an input's folder; by default the end of its path, because a path
            of this machine says nothing to others.
        bases: folders of base models that adapters are folded into, where the recipe calls them otherwise.
        emit: told of progress, one event per module or tensor, and of warnings.

    Returns:
        A MergeReport for adapters, a FullReport for full models: of the last document.

    Raises:
        NotFoundError, RecipeError, ProblemsError: the recipe cannot be read, or everything that stands against it;
            nothing is written then.
        AdapterFormatError, BaseModelError: an input's weights cannot be read or are not finite.
        ParameterError: the result does not fit into the chosen dtype.
        ConflictError, StorageError: somebody took the place meanwhile, or it cannot be written.
    """
    documents, out_dir = parse_documents(recipe), Path(os.path.expanduser(out_dir))
    place = _Place(dict(names or {}), dict(bases or {}), emit)
    if len(documents) == 1 and not _is_folded(documents[0].recipe):
        return _merge_one(documents[0].recipe, out_dir, place)
    return _merge_in_steps(documents, out_dir, place)


def _merge_in_steps(documents: Sequence[Document], out_dir: Path, place: _Place) -> Report:
    """What takes several merges, or a merge and a fold: all of it is checked first, and only the last one is kept."""
    started = time.monotonic()
    inputs = list(dict.fromkeys(each for document in documents for each in document.inputs))
    results = [document.name for document in documents if document.name]
    bases = [each for document in documents for each in document.bases]
    names = {**short_names(inputs, [*results, *bases]), **place.names}
    found = preflight_documents(documents, out_dir, names=names, bases=place.bases)
    if found.problems:
        raise ProblemsError("the merge", found.problems)
    with scratch_folder(out_dir) as scratch:
        report = _merge_all(documents, scratch, dataclasses.replace(place, names=names))
        saved = documents_to_yaml([_named(document, names) for document in documents])
        (report.out_dir / RECIPE_FILE).write_text(saved, encoding="utf-8")
        put_in_place(report.out_dir, out_dir)
    place.emit("artifact", path=str(out_dir))
    return dataclasses.replace(report, out_dir=out_dir, seconds=time.monotonic() - started)


def _merge_all(documents: Sequence[Document], scratch: Path, place: _Place) -> Report:
    """The last document's report, its result in `scratch`."""
    made: dict[str, str] = {}
    for index, document in enumerate(documents):
        called = {**place.names, **{folder: name for name, folder in made.items()}}
        recipe = document.with_models(lambda ref: made.get(ref, ref)).recipe
        label = document.name or "the result"
        within = _Place(called, place.bases, _telling(place.emit, label, len(documents)))
        report = _merge_one(recipe, scratch / f"{index}", within)
        made[document.name or ""] = str(report.out_dir)
    return report


def _merge_one(recipe: Recipe | FullRecipe, out_dir: Path, place: _Place) -> Report:
    if isinstance(recipe, FullRecipe):
        with import_quickly():
            from merging.full_models.run import merge_full

        return merge_full(recipe, out_dir, names=place.names, emit=place.emit)
    if _is_folded(recipe):
        return _merge_and_fold(recipe, out_dir, place)
    return merge_adapters(recipe, out_dir, names=place.names, emit=place.emit)


def _merge_and_fold(recipe: Recipe, out_dir: Path, place: _Place) -> MergeReport:
    """The merged adapter folded into its base: in float32, cast once at the end."""
    from merging.folding.run import FoldInput, fold

    exact = dataclasses.replace(recipe, output="adapter", dtype="float32", out_dtype=None)
    merged = out_dir.with_name(out_dir.name + "-adapter")
    report = merge_adapters(exact, merged, names=place.names, emit=place.emit)
    adapter, base = FoldInput(merged, name="the merged adapter"), str(recipe.folded_base)
    folded = fold(place.bases.get(base, base), [adapter], out_dir, dtype=recipe.written_dtype, emit=place.emit)
    kept = {**report.to_mapping(), "dtype": folded.dtype, "files": list(folded.files)}
    (out_dir / FILE_NAME).write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return dataclasses.replace(report, dtype=folded.dtype, out_dir=out_dir)


def _is_folded(recipe: Recipe | FullRecipe) -> bool:
    return isinstance(recipe, Recipe) and recipe.output == "model"


def _named(document: Document, names: Mapping[str, str]) -> Document:
    """The document as it is kept beside the result: with names instead of this machine's paths."""

    def called(ref: str) -> str:
        return (
            ref if ref in document.uses else names.get(ref, Path(ref).name if Path(ref).expanduser().is_dir() else ref)
        )

    return document.with_models(called)


def _telling(emit: Emit, label: str, count: int) -> Emit:
    """An `emit` for one merge of several: it says which one, and keeps to itself that a part is done."""

    def told(kind: Any, **fields: Any) -> None:
        if kind == "artifact":
            return
        if kind == "progress" and count > 1:
            fields["text"] = f"{fields['text']} {label}"
        emit(kind, **fields)

    return told
