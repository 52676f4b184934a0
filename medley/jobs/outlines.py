"""Full models as far as they are known before their weights are here, so that they can be compared first.

An outline is a folder with a model's configuration, its tokenizer and the headers of its weights. For a model on this
machine it is the model's own folder; for one on the Hub it is fetched, a few megabytes, and gone when it was looked at.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import HubError, ProblemsError, UserError
from medley.events import Emit
from medley.jobs.bases import base_folder, folder_at_hand
from medley.jobs.hub_client import download_outline

if TYPE_CHECKING:
    from hub import Registry, Version
    from medley.jobs.work import JobWork


@dataclass(frozen=True)
class Outlines:
    """What there is to look at.

    Attributes:
        folders: by the models' names; a model that cannot be looked at yet has none.
        problems: why models can never be looked at.
        warnings: why they cannot be looked at now, though they may be by the time that a job starts.
    """

    folders: Mapping[str, Path]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


@contextmanager
def outlines(registry: "Registry", models: Mapping[str, Mapping[str, Any]]) -> Iterator[Outlines]:
    """The outlines of pinned models, for as long as the context lasts.

    Args:
        models: names to models as a spec keeps them (`full_models.FoundModel.pinned`).
    """
    folders: dict[str, Path] = {}
    problems, warnings = [], []
    with tempfile.TemporaryDirectory(prefix="medley-outlines-") as scratch:
        for number, (name, pinned) in enumerate(models.items()):
            try:
                found = _outline(registry, pinned, Path(scratch) / str(number))
            except UserError as error:
                # The commit of a Hub id was just asked for; a registered base can be named without any connection.
                is_passing = isinstance(error, HubError) and "hub_id" not in pinned
                (warnings if is_passing else problems).append(f"'{pinned['label']}' cannot be looked at: {error}")
            else:
                folders |= {name: found} if found is not None else {}
        yield Outlines(folders, tuple(problems), tuple(warnings))


def pinned_base(base: "Version") -> dict[str, Mapping[str, Any]]:
    """A base as `outlines` takes it, under "base"."""
    return {"base": {"label": base.label, "version": base.id}}


def check_before_download(
    work: "JobWork",
    models: Mapping[str, Mapping[str, Any]],
    subject: str,
    look: Callable[[Mapping[str, Path]], Iterable[str]],
) -> None:
    """Nothing, if nothing stands against a job as far as headers tell; weights from the Hub are fetched after this.

    Args:
        models: as `outlines` takes them; the bundled one is unpacked first.
        subject: what the problems are in: "the fold".
        look: from the outlines' folders to problems; not asked where one is gone, which is told by whoever opens it.

    Raises:
        ProblemsError: everything that does.
    """
    unpack_bundled(work.registry, models, work.emit_or_stop)
    with outlines(work.registry, models) as seen:
        problems = [*seen.problems, *seen.warnings]
        if len(seen.folders) == len(models):
            problems += look(seen.folders)
    if problems:
        raise ProblemsError(subject, problems)


def unpack_bundled(registry: "Registry", models: Mapping[str, Mapping[str, Any]], emit: Emit) -> None:
    """Unpack the bundled model if it is among them: a job needs it anyway, and can compare it then before it downloads.

    Raises:
        MissingDependencyError, StorageError: why it cannot be had.
    """
    for pinned in models.values():
        version = registry.get(f"sha256:{pinned['version']}") if "version" in pinned else None
        if version is not None and version.metadata.get("source") == "bundled":
            base_folder(registry, version, emit)


def _outline(registry: "Registry", pinned: Mapping[str, Any], scratch: Path) -> Path | None:
    """The folder to look into; None for one that is gone, and for the bundled model before it is unpacked."""
    if "folder" in pinned:
        return folder if (folder := Path(pinned["folder"])).is_dir() else None
    repo_id, revision = pinned.get("hub_id"), pinned.get("revision")
    if repo_id is None:
        version = registry.get(f"sha256:{pinned['version']}")
        folder = folder_at_hand(registry, version)
        if folder is not None or version.metadata.get("source") != "hub":
            return folder
        repo_id, revision = str(version.base), version.base_revision
    cached = _whole_in_cache(repo_id, revision)
    if cached is None:
        download_outline(repo_id, revision, scratch)
    return cached or scratch


def _whole_in_cache(repo_id: str, revision: str | None) -> Path | None:
    """The model's folder in the Hub's cache, if all of it is there."""
    from huggingface_hub import try_to_load_from_cache

    from medley.lm.base_folder import check_base_folder

    found = try_to_load_from_cache(repo_id, "config.json", revision=revision)
    if not isinstance(found, str):
        return None
    try:
        check_base_folder(Path(found).parent)
    except UserError:
        return None
    return Path(found).parent
