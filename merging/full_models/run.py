"""The runner of full-model recipes: model folders in, one model folder out, with mergekit's arithmetic.

Adapters on a base are folded into a model of their own first, beside the result and only for the time of the merge.
The result appears by one rename; a process that is killed leaves nothing that the next merge does not remove.
"""

import shutil
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from safetensors import safe_open

from medley.errors import ParameterError, ProblemsError
from medley.events import Emit, ignore_event
from medley.lm.adapter_file import WEIGHTS_FILE, AdapterFile, file_sha256
from medley.lm.adapter_writer import is_finite
from medley.lm.base_folder import weight_files, weights_digest
from medley.lm.model_file import ModelFile, open_model
from merging.full_models.chat_template import template_text, write_template
from merging.full_models.check import FullPreflight, preflight_full
from merging.full_models.mergekit_run import run_mergekit
from merging.full_models.recipe import FullRecipe
from merging.full_models.report import FullInput, FullReport
from merging.reading import one_thread
from merging.recipes.reference import Reference
from merging.report import FILE_NAME
from merging.run import RECIPE_FILE
from merging.staging import scratch_folder, staged_folder

WITHOUT_TOKENIZER = ("generation_config.json", "LICENSE", "LICENSE.txt", "LICENSE.md")


def merge_full(
    recipe: FullRecipe, out_dir: Path, *, names: Mapping[str, str] | None = None, emit: Emit = ignore_event
) -> FullReport:
    """Merge full models into a new one at `out_dir`, and report what was done.

    Args:
        recipe: its models are folders.
        out_dir: absent or empty; appears at the end by one rename, with weights, configuration, tokenizer, recipe.yaml
            and merge_report.json.
        names: what recipe.yaml and the report call an input's folder; by default the end of its path.
        emit: told of progress, one event per tensor, and of warnings.

    Raises:
        ProblemsError: everything that preflight found; nothing is written then.
        BaseModelError: mergekit cannot do it.
        ParameterError: the result does not fit into the chosen dtype.
        ConflictError, StorageError: somebody took the place meanwhile, or it cannot be written.
    """
    started = time.monotonic()
    found = preflight_full(recipe, out_dir, names=names)
    if found.problems:
        raise ProblemsError("the merge", found.problems)
    for warning in found.warnings:
        emit("warning", text=warning)
    inputs = tuple(_describe(found.names[name], opened) for name, opened in found.opened.items())
    with scratch_folder(out_dir) as scratch, staged_folder(out_dir) as staging, one_thread():
        whole = recipe.with_references(_folded(recipe, found, scratch, emit).__getitem__)
        run_mergekit(whole, staging, found.dtype, emit)
        _check_finite(staging, found.dtype)
        _write_side_files(staging, whole)
        report = _report(found, inputs, open_model(staging))
        saved = recipe.with_models(found.names.__getitem__).to_yaml()
        (staging / RECIPE_FILE).write_text(saved, encoding="utf-8")
        (staging / FILE_NAME).write_text(report.to_json(), encoding="utf-8")
    emit("artifact", path=str(out_dir))
    return FullReport(**{**vars(report), "out_dir": out_dir, "seconds": time.monotonic() - started})


def _folded(recipe: FullRecipe, found: FullPreflight, scratch: Path, emit: Emit) -> dict[Reference, Reference]:
    """A folder for each model; one made in `scratch` for each adapter on a base."""
    from merging.folding.run import FoldInput, fold

    folders: dict[Reference, Reference] = {}
    for index, each in enumerate(recipe.all_references):
        if each.lora is None:
            folders[each] = Reference(str(Path(each.model).expanduser()), None, each.override_architecture)
            continue
        folder = scratch / f"folded-{index}"
        adapter = FoldInput(Path(each.lora).expanduser(), name=found.names[each.lora])
        fold(each.model, [adapter], folder, dtype="float32", emit=emit)
        folders[each] = Reference(str(folder), None, each.override_architecture)
    return folders


def _check_finite(folder: Path, dtype: str) -> None:
    """Nothing, if every number of the result is one; mergekit writes what became Infinity in the cast.

    Raises:
        ParameterError: the first tensor that holds NaN or Infinity.
    """
    for path in weight_files(folder):
        with safe_open(path, framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                tensor = file.get_tensor(name)
                if tensor.is_floating_point() and not is_finite(tensor):
                    raise ParameterError(
                        f"The result of {name} holds NaN or Infinity in {dtype}. If the inputs do not, it is too large "
                        "for that: set out_dtype: bfloat16 or float32, or smaller weights."
                    )


def _write_side_files(staging: Path, recipe: FullRecipe) -> None:
    """What belongs to the donor beside its weights, and the chat template that the recipe asks for."""
    donor = open_model(Path(recipe.donor.model))
    names = WITHOUT_TOKENIZER if recipe.has_own_tokenizer else donor.side_files
    for name in names:
        if name != "config.json" and (donor.folder / name).is_file():
            shutil.copyfile(donor.folder / name, staging / name)
    chosen = recipe.body.get("chat_template")
    text = template_text(chosen, [Path(each.model) for each in recipe.references]) if chosen else None
    if text is not None:
        write_template(staging, text)


def _describe(name: str, opened: ModelFile | AdapterFile) -> FullInput:
    is_adapter = isinstance(opened, AdapterFile)
    digest = file_sha256(opened.folder / WEIGHTS_FILE) if is_adapter else weights_digest(opened.folder)
    return FullInput(name, digest)


def _report(found: FullPreflight, inputs: tuple[FullInput, ...], result: ModelFile) -> FullReport:
    return FullReport(
        method=found.recipe.merge_method,
        seed=found.recipe.seed,
        mergekit=version("mergekit"),
        dtype=found.dtype,
        donor="+".join(found.names[part] for part in found.recipe.donor.names),
        inputs=inputs,
        tensors=len(result.tensors),
        parameters=result.parameter_count,
        size_bytes=sum(tensor.size_bytes for tensor in result.tensors.values()),
        warnings=found.warnings,
    )
