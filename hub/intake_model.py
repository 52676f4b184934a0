"""Somebody else's full model in: copied, checked, and only then published.

    version, left_out = import_model(registry, Path("merged-model"), "mixed")

What is taken stands in kind_lists.py, the checks in model_files.py. A model that Medley published comes back under the
id that it had (manifest_file.py).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.allow_list import sort_entries
from hub.intake import stage_name
from hub.kind_lists import MANIFEST_FILE, MODEL
from hub.manifest import Parent
from hub.manifest_file import fits, read_manifest_file
from hub.model_files import ModelFiles, open_model
from hub.names import check_name, quoted
from hub.records import Version
from hub.registry import Registry
from hub.side_files import card_licence, check_side_files
from hub.staging import copy_entries, open_folder
from medley.errors import AdapterFormatError, NotFoundError

OTHER_CONTENT = f"{MANIFEST_FILE} does not fit the files, which were changed since it was written; it was left aside."
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # safetensors' word -> torch's
TEMPLATE_ADVICE = "Put a harmless one in its place."
Describe = Callable[[Path], Mapping[str, Any]]


def nothing_more(folder: Path) -> Mapping[str, Any]:
    """The `describe` of whoever knows no more of a model's folder than we read ourselves."""
    return {}


@dataclass(frozen=True)
class Checked:
    """A folder of private copies after every check, and what is on record of it.

    Attributes:
        folder: holds exactly the files that will be published.
        left_out: files of it that were taken away, with the reason.
    """

    folder: Path
    base: str | None
    base_revision: str | None
    parents: tuple[Parent, ...]
    recipe: str | None
    metadata: Mapping[str, Any]
    left_out: tuple[str, ...]


def import_model(
    registry: Registry,
    source: Path,
    name: str,
    *,
    base: str | None = None,
    base_revision: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    parents: Sequence[Parent] = (),
    describe: Describe = nothing_more,
) -> tuple[Version, tuple[str, ...]]:
    """The published version of the model in a folder, and what was left out of it.

    Args:
        source: a folder, or a snapshot in the Hub client's cache. Its weights are copied to the registry's own disk.
        name: its name in the registry.
        base, base_revision: the Hub id of what it was made from, where that is known.
        metadata: fields that win over what is read from the files.
        parents: what it was made from, where that is here.
        describe: gives further fields for the checked copies of the files.

    Raises:
        InvalidNameError: a name that cannot be used.
        NotFoundError: no such folder.
        AdapterFormatError, ProblemsError: everything that is wrong with it. Nothing is published then.
        StorageError: no space for the copies.
    """
    check_name(name)
    _check_is_folder(source)
    with registry.scratch() as scratch:
        stage = scratch / stage_name(source)
        stage.mkdir()
        with open_folder(source) as entries:
            taken, left_out = sort_entries(entries, source.name, MODEL)
            copy_entries(taken, stage, MODEL)
        checked = check_model(stage, describe)
        version = publish_checked(
            registry, "model", name, checked, base, base_revision, metadata=metadata or {}, parents=parents
        )
        return version, (*left_out, *checked.left_out)


def _check_is_folder(source: Path) -> None:
    if source.is_file():
        raise AdapterFormatError(f"{quoted(source.name)} is a file. A model is imported from its folder.")
    if not source.is_dir():
        raise NotFoundError(f"There is no folder {quoted(str(source))}.")


def check_model(folder: Path, describe: Describe = nothing_more) -> Checked:
    """The model in a folder of private copies; what does not belong into the version is removed from the folder.

    Raises:
        AdapterFormatError, ProblemsError: everything that is wrong with it.
    """
    files = {path.name: path for path in folder.iterdir()}
    private = check_side_files(files, TEMPLATE_ADVICE)
    licence = card_licence(files.get("README.md"))
    for name in private:
        files[name].unlink()
    model = open_model(folder)
    facts = {**describe_model(model), **({"licence": licence} if licence else {}), **describe(folder)}
    left_out = tuple(f"{name} ({reason})" for name, reason in private.items())
    return settle_manifest(folder, "model", facts, left_out)


def settle_manifest(folder: Path, kind: str, facts: Mapping[str, Any], left_out: tuple[str, ...]) -> Checked:
    """The checked folder as the manifest in it has it; without one, or where it does not fit, as it lies there."""
    manifest = read_manifest_file(folder, kind)
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    if manifest is None or not fits(manifest, folder):
        notes = [*facts.get("notes", []), *([OTHER_CONTENT] if manifest else [])]
        recipe = folder / "recipe.yaml"
        text = recipe.read_text(encoding="utf-8") if recipe.is_file() else None
        return Checked(folder, None, None, (), text, {**facts, **({"notes": notes} if notes else {})}, left_out)
    listed = {entry.path for entry in manifest.files}  # all else is the card, which is written anew at every push
    for path in list(folder.iterdir()):
        if path.name not in listed:
            path.unlink()
    return Checked(folder, manifest.base, manifest.base_revision, manifest.parents, manifest.recipe, facts, left_out)


def publish_checked(
    registry: Registry,
    kind: str,
    name: str,
    checked: Checked,
    base: str | None = None,
    base_revision: str | None = None,
    *,
    metadata: Mapping[str, Any],
    parents: Sequence[Parent] = (),
) -> Version:
    """The version that now holds the checked folder; base, revision and parents win over what its manifest says."""
    return registry.publish(
        kind,
        name,
        checked.folder,
        base=base or checked.base,
        base_revision=base_revision if base else checked.base_revision,
        parents=[*parents] or checked.parents,
        recipe=checked.recipe,
        metadata={**checked.metadata, **metadata},
    )


def describe_model(model: ModelFiles) -> dict[str, Any]:
    """The metadata that can be read from the files."""
    dtypes: Counter[str] = Counter()
    for tensor in model.tensors.values():
        dtypes[tensor.dtype] += tensor.element_count
    dtype = dtypes.most_common(1)[0][0]
    architectures = model.config.get("architectures")
    facts = {
        "trainer": "imported",
        "model_type": model.config["model_type"][:100],
        "architecture": architectures[0] if isinstance(architectures, list) and architectures else None,
        "parameters": model.parameter_count,
        "size_bytes": model.size_bytes,
        "dtype": DTYPES.get(dtype, dtype),
        "shards": len(model.shards),
    }
    return {key: value for key, value in facts.items() if value is not None}
