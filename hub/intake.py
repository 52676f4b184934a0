"""Somebody else's adapter in: copied, checked, and only then published.

`read_adapter_source` gives private copies of the files we take, after every check; `import_adapter` publishes them.
What is taken stands in allow_list.py, how folders and zips are read in staging.py and archive.py, the adapter's own
format in medley/lm/adapter_file.py.
"""

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.allow_list import Entry, sort_entries
from hub.archive import open_archive
from hub.manifest import Parent
from hub.names import check_name, quoted
from hub.records import Version
from hub.registry import Registry
from hub.side_files import check_side_files
from hub.staging import copy_entries, open_folder
from medley.errors import AdapterFormatError, InvalidNameError
from medley.lm.adapter_file import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterConfig,
    AdapterFile,
    check_finite,
    hub_id,
    open_adapter,
    read_config,
)

FOLDER_BASE = re.compile(r"folder:[0-9a-f]{64}")


@dataclass(frozen=True)
class Intake:
    """An adapter that has passed every check.

    Attributes:
        files: private copies, by name; exactly what will be published.
        left_out: what was in the source and is not taken, with a reason where the name does not tell it.
        adapter: the adapter in the copies' folder.
        base: the Hub id (or "folder:<digest>") of the base model.
        base_revision: its commit, tag or branch, if known.
        notes: what was changed or is unusual, one sentence each.
    """

    files: Mapping[str, Path]
    left_out: tuple[str, ...]
    adapter: AdapterFile
    base: str
    base_revision: str | None
    notes: tuple[str, ...]


@contextmanager
def read_adapter_source(source: Path, *, base: str | None = None, base_revision: str | None = None) -> Iterator[Intake]:
    """The checked adapter of a folder or a zip; the copies are gone after the block.

    Args:
        source: a folder, a snapshot in the Hub client's cache, or a zip archive.
        base: a Hub id or "folder:<digest>"; it wins over what the configuration says. Needed where that is a path.
        base_revision: of that base.

    Raises:
        NotFoundError: there is no such source.
        AdapterFormatError, ProblemsError: everything that is wrong with it.
        StorageError: no space for the copies.
    """
    with tempfile.TemporaryDirectory(prefix="medley-") as temporary:
        stage = Path(temporary) / stage_name(source)
        stage.mkdir()
        with _entries_of(source) as entries:
            taken, left_out = sort_entries(entries, source.name)
            _require_parts(taken, source)
            files = copy_entries(taken, stage)
        private = check_side_files(files)
        for name in private:
            files.pop(name).unlink()
        base, base_revision, notes = _settle_base(stage, base, base_revision)
        adapter = open_adapter(stage)
        check_finite(adapter)
        left_out += tuple(f"{name} ({reason})" for name, reason in private.items())
        yield Intake(files, left_out, adapter, base, base_revision, (*notes, *_odd_keys(adapter)))


def stage_name(source: Path) -> str:
    """The source's name as far as it is harmless; messages about its files begin with it."""
    name = source.stem if source.suffix == ".zip" else source.name
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII).strip(".")[:60] or "adapter"


def _entries_of(source: Path) -> AbstractContextManager[list[Entry]]:
    return open_folder(source) if os.path.isdir(source) else open_archive(source)


def _require_parts(taken: Mapping[str, Entry], source: Path) -> None:
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if name not in taken]
    if missing:
        raise AdapterFormatError(f"{quoted(source.name)} is not an adapter: {' and '.join(missing)} missing.")


def _settle_base(stage: Path, base: str | None, revision: str | None) -> tuple[str, str | None, tuple[str, ...]]:
    """The base, its revision and what to note; afterwards the copy of the configuration names that base."""
    config = read_config(stage)
    named = config.base_model if _is_portable(config.base_model) else None
    if base is None and named is None:
        raise AdapterFormatError(_needs_base(config))
    agrees = base == named and (revision is None or config.revision in (None, revision))
    if base is None or agrees:
        return named, revision or config.revision, ()
    settings = {**config.raw, "base_model_name_or_path": base, "revision": revision}
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    (stage / CONFIG_FILE).write_text(text, encoding="utf-8")
    was = _shown(named, config.revision) if named else "a local path" if config.base_model else "no base model"
    return base, revision, (f"{CONFIG_FILE} named {was}; it was written anew with the base {_shown(base, revision)}.",)


def _shown(base: str, revision: str | None) -> str:
    return f"'{base}'" + (f" at revision {revision}" if revision else "")


def _is_portable(base: str | None) -> bool:
    """Whether a base's name means the same model on another machine."""
    return base is not None and (hub_id(base) is not None or FOLDER_BASE.fullmatch(base) is not None)


def _needs_base(config: AdapterConfig) -> str:
    if not config.base_model:
        return f"{CONFIG_FILE} does not say which base model it belongs to. Name one with --base."
    return (
        f"{CONFIG_FILE} names its base model by {config.base_model[:100]!a}, which is not a Hub id, and such a "
        "path is never followed. Name the base model with --base."
    )


def _odd_keys(adapter: AdapterFile) -> tuple[str, ...]:
    keys = adapter.config.unknown_keys
    return (f"{CONFIG_FILE} has keys that this version does not know: {', '.join(keys)}.",) if keys else ()


def import_adapter(
    registry: Registry,
    source: Path,
    name: str,
    *,
    base: str | None = None,
    base_revision: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    parents: Sequence[Parent] = (),
) -> tuple[Version, tuple[str, ...]]:
    """The published version, and what was left out of it.

    Args:
        source: a folder or a zip archive.
        name: its name in the registry.
        base: a registered base, a Hub id or "folder:<digest>"; wins over what the configuration says.
        base_revision: of that base; the registered one's by default.
        metadata: fields that win over what is read from the files.
        parents: what it was made from, where that is known; a registered base is added.

    Raises:
        InvalidNameError: a name that cannot be used.
        NotFoundError: no such source or base.
        AdapterFormatError, ProblemsError: everything that is wrong with it. Nothing is published then.
    """
    check_name(name)
    registered = _registered_base(registry, base)
    if registered:
        base, base_revision = registered.base, base_revision or registered.base_revision
    with read_adapter_source(source, base=base, base_revision=base_revision) as intake:
        found = registered or _known_base(registry, intake)
        version = registry.publish(
            "adapter",
            name,
            intake.adapter.folder,
            base=intake.base,
            base_revision=intake.base_revision,
            parents=[*parents, *([Parent(found.id, "base")] if found else [])],
            metadata={**describe_intake(intake), **({"base_name": found.name} if found else {}), **(metadata or {})},
        )
        return version, intake.left_out


def describe_intake(intake: Intake) -> dict[str, Any]:
    """The metadata that can be read from the files."""
    adapter = intake.adapter
    ranks = {module.rank for module in adapter.modules.values()}
    facts = {
        "trainer": "imported",
        "peft_type": adapter.config.peft_type,
        "adapter_type": adapter.config.kind,
        "rank": max(ranks, default=adapter.config.r) or None,
        "targets": sorted({name.rpartition(".")[2] for name in adapter.modules}),
        "parameters": adapter.parameter_count,
        "size_bytes": adapter.size_bytes,
        "adapter_kind": "reward" if adapter.is_reward_model else None,
        "notes": list(intake.notes),
    }
    return {key: value for key, value in facts.items() if value not in (None, [])}


def _registered_base(registry: Registry, base: str | None) -> Version | None:
    """The registered base that a name means; None where `base` is a Hub id or a folder's digest (or nothing)."""
    if base is None or FOLDER_BASE.fullmatch(base) or (hub_id(base) and "/" in base):
        return None
    if re.search(r"[/\\]", base):
        raise InvalidNameError(
            f"{quoted(base)} is neither a registered base nor a Hub id. Register a folder with `medley base add` first."
        )
    return registry.get(base, kind="base")


def _known_base(registry: Registry, intake: Intake) -> Version | None:
    """The registered base that an intake's Hub id means; the revision must agree where both are known."""
    for version in registry.list("base", limit=None):
        revisions = {version.base_revision, intake.base_revision} - {None}
        if version.base == intake.base and len(revisions) <= 1:
            return version
    return None
