"""Base models by name: what the registry records of one, and the folder its weights are in.

A base's version holds one small `base.json` that says which model is meant; the weights stay where they are: unpacked
in the home folder (bundled), in the Hub's cache, or in the user's own folder. What is learnt about them later (digest,
size, architecture) goes to the version's metadata, so that a base can be named before anything is downloaded.
"""

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import BaseModelError, NotFoundError
from medley.events import Emit, ignore_event
from medley.jobs.base_names import FOLDER_PREFIX, identity_of
from medley.jobs.hub_client import Token, download, latest_commit

if TYPE_CHECKING:
    from hub import Registry, Version

BASE_FILE = "base.json"
BUNDLED_NOTE = "Unpacked from a Q4_1 GGUF copy of the model, so its weights differ slightly from those on the Hub."
BASE_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "LICENSE*")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def default_base(registry: "Registry") -> "Version":
    """The base for who names none: the bundled model, or the same one from the Hub where it is not installed."""
    from medley.lm.bundled import DEFAULT_BASE, DEFAULT_HUB_ID, bundled_gguf, is_prepared

    try:
        return registry.get(DEFAULT_BASE, "base")
    except NotFoundError:
        pass
    if bundled_gguf() or is_prepared(registry.home / "bases" / DEFAULT_BASE):
        return _record(registry, DEFAULT_BASE, DEFAULT_HUB_ID, None, source="bundled", note=BUNDLED_NOTE)
    return _record(registry, DEFAULT_BASE, DEFAULT_HUB_ID, None, source="hub")


def find_base(registry: "Registry", ref: str | None = None) -> "Version":
    """The registered base (or model of our own) that a name, an id, a Hub id or a digest means; the default for None.

    Raises:
        NotFoundError: it is not registered; says how to add it.
    """
    from medley.lm.bundled import DEFAULT_BASE, DEFAULT_HUB_ID

    if ref is None or ref in (DEFAULT_BASE, DEFAULT_HUB_ID):
        return default_base(registry)
    if looks_like_path(ref) or HUB_ID.fullmatch(ref) or ref.startswith(FOLDER_PREFIX):
        version = _registered(registry, ref, None)
        if version is None:
            shown = ref[:120]
            raise NotFoundError(f"The base {shown!a} is not in the registry. Add it first: medley base add {shown}")
        return version
    try:
        return registry.get(ref, "model")
    except NotFoundError:
        return registry.get(ref, "base")


def base_identity(registry: "Registry", ref: str) -> tuple[str, str | None]:
    """What an adapter records as its base: (Hub id or "folder:<digest>", revision).

    Args:
        ref: a registered base, or any Hub id, which need not be registered.
    """
    try:
        version = find_base(registry, ref)
    except NotFoundError:
        if not HUB_ID.fullmatch(ref) or looks_like_path(ref):
            raise
        return ref, None
    return identity_of(version)


def base_of(registry: "Registry", adapter: Any) -> "Version":
    """The base that an adapter belongs to; one from the Hub is registered at this first need, not yet downloaded.

    Args:
        adapter: anything with `label`, `base` and `base_revision`: a Version or a FoundAdapter.

    Raises:
        BaseModelError: the adapter does not say, or its base is a local folder that is not registered here.
    """
    from medley.lm.adapter_file import hub_id
    from medley.lm.bundled import DEFAULT_HUB_ID

    if not adapter.base:
        raise BaseModelError(f"{adapter.label} does not say which base model it belongs to. Import it with --base.")
    if adapter.base == DEFAULT_HUB_ID and adapter.base_revision is None:
        return default_base(registry)
    version = _registered(registry, adapter.base, adapter.base_revision)
    if version is not None:
        return version
    if hub_id(adapter.base) is None:
        raise BaseModelError(
            f"{adapter.label} belongs to a base model in a local folder that is not registered here "
            f"({adapter.base[:19]}). Add it: medley base add FOLDER"
        )
    return _record(registry, free_name(registry, adapter.base), adapter.base, adapter.base_revision, source="hub")


def add_base(
    registry: "Registry",
    source: str | Path,
    name: str | None = None,
    revision: str | None = None,
    *,
    hub_id: str | None = None,
    token: Token = None,
) -> "Version":
    """Register a Hub id (the commit behind `revision` is recorded, nothing else downloaded) or a local folder.

    Args:
        source: a Hub id or a folder; the folder is used where it is, not copied.
        name: in the registry; made from the source when not given.
        hub_id: for a folder, of which Hub model (at `revision`) it is a copy; without it, it is a base of its own.
        token: for a gated or private model.

    Raises:
        BaseModelError, ProblemsError: a folder that is no base model.
        HubError: the Hub does not know it, or cannot be asked.
    """
    text = str(source)
    if looks_like_path(text) or not HUB_ID.fullmatch(text):
        return _add_folder(registry, local_path(text), name, hub_id, revision)
    commit = latest_commit(text, revision, token=token)
    return _record(registry, name or free_name(registry, text), text, commit, source="hub")


def _add_folder(
    registry: "Registry", folder: Path, name: str | None, hub_id: str | None, revision: str | None
) -> "Version":
    from medley.lm.base_folder import check_base_folder, weights_digest

    if not os.path.isdir(folder):  # unlike Path.is_dir, False for a name that is too long
        raise BaseModelError(
            f"There is no folder {str(folder)[:200]!a}; a base is a folder or a Hub id such as org/name."
        )
    check_base_folder(folder)
    digest = weights_digest(folder)
    facts = {"folder": str(folder), "weights_digest": digest, **facts_of(folder)}
    base = hub_id or FOLDER_PREFIX + digest
    revision = revision if hub_id else None
    return _record(registry, name or free_name(registry, folder.name), base, revision, source="folder", facts=facts)


def base_folder(registry: "Registry", version: "Version", emit: Emit = ignore_event, *, token: Token = None) -> Path:
    """The folder with a base's weights and tokenizer: unpacked, downloaded, or checked to be what it was.

    Raises:
        MissingDependencyError, BaseModelError, HubError, StorageError: why it cannot be had.
    """
    from medley.lm.base_folder import check_base_folder, weights_digest
    from medley.lm.bundled import DEFAULT_BASE, prepare_bundled

    if version.kind == "model":
        check_base_folder(version.path)
        return version.path
    source = version.metadata.get("source")
    if source == "bundled":
        folder = prepare_bundled(registry.home / "bases" / DEFAULT_BASE, emit)
    elif source == "hub":
        emit("progress", step=0, total=0, text=f"Downloading {version.base}")
        folder = download(str(version.base), version.base_revision, BASE_FILES, token=token)
    else:
        folder = Path(str(version.metadata.get("folder")))
        if not folder.is_dir():
            raise BaseModelError(f"The base '{version.name}' was at {folder}, and is there no more. Add it again.")
    check_base_folder(folder)
    if source == "folder" and weights_digest(folder) != version.metadata.get("weights_digest"):
        raise BaseModelError(
            f"The weights in {folder} have changed since '{version.name}' was added. Add the folder under a new name."
        )
    if "weights_digest" not in version.metadata:
        registry.update_metadata(version.id, weights_digest=weights_digest(folder), **facts_of(folder))
    return folder


def folder_at_hand(registry: "Registry", version: "Version") -> Path | None:
    """The folder of a base whose weights are on this machine already, or None; nothing is fetched or unpacked."""
    from medley.lm.bundled import DEFAULT_BASE, is_prepared

    if version.kind == "model":
        return version.path
    source = version.metadata.get("source")
    if source == "bundled":
        folder = registry.home / "bases" / DEFAULT_BASE
        return folder if is_prepared(folder) else None
    if source == "folder":
        folder = Path(str(version.metadata.get("folder")))
        return folder if folder.is_dir() else None
    if "weights_digest" not in version.metadata:  # it was never opened
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(str(version.base), "config.json", revision=version.base_revision)
    return Path(found).parent if isinstance(found, str) else None


def facts_of(folder: Path) -> dict[str, Any]:
    """Architecture and number of parameters, from the configuration and the weight files' headers."""
    from safetensors import safe_open

    from medley.lm.base_folder import loaded_files

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    parameters = 0
    for path in loaded_files(folder):
        with safe_open(path, framework="numpy") as file:
            for key in file.keys():  # noqa: SIM118 - not a dict
                size = 1
                for length in file.get_slice(key).get_shape():
                    size *= length
                parameters += size
    return {"architecture": (config.get("architectures") or ["unknown"])[0], "parameters": parameters}


def looks_like_path(ref: str) -> bool:
    """Whether a user who writes this means a place on the disk: `./`, `../`, `/` or `~` at its beginning."""
    return ref.startswith(("./", "../", "/", "~")) or ref in (".", "..")


def local_path(ref: str) -> Path:
    """The place on the disk that a user writes, whether or not something is there.

    Raises:
        NotFoundError: it begins with the home folder of a user whom nobody knows.
    """
    try:
        return Path(ref).expanduser().absolute()
    except RuntimeError as error:
        raise NotFoundError(f"{ref[:60]!a} begins with a home folder that does not exist here.") from error


def free_name(registry: "Registry", source: str) -> str:
    """A registry name made from a Hub id or a folder's name, that nothing else has yet."""
    stem = re.sub(r"[^a-z0-9._]+", "-", source.rpartition("/")[2].lower()).strip("-._")[:80] or "base"
    name, number = stem, 2
    while registry.exists(name):
        name, number = f"{stem}-{number}", number + 1
    return name


def _registered(registry: "Registry", source: str, revision: str | None) -> "Version | None":
    """The newest base of this Hub id or digest (or folder path), of this revision or of any when it is None; or the
    model of our own that has this digest."""
    path = str(local_path(source)) if looks_like_path(source) else None
    for version in registry.list("base", limit=None):
        if path is not None:
            is_meant = version.metadata.get("folder") == path
        else:
            is_meant = version.base == source and revision in (None, version.base_revision)
        if is_meant:
            return version
    models = registry.list("model", limit=None) if source.startswith(FOLDER_PREFIX) else []
    versions = (version for model in models for version in registry.versions(model.name))
    return next((version for version in versions if identity_of(version)[0] == source), None)


def _record(
    registry: "Registry",
    name: str,
    base: str,
    revision: str | None,
    *,
    source: str,
    note: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> "Version":
    is_own = base.startswith(FOLDER_PREFIX)
    identity = {"hub_id": None if is_own else base, "revision": revision, "source": source, "note": note}
    if source == "folder":
        identity["weights_digest"] = (facts or {})["weights_digest"]
    with tempfile.TemporaryDirectory(prefix="medley-base-") as folder:
        (Path(folder) / BASE_FILE).write_text(json.dumps(identity, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        metadata = {"source": source, **({"note": note} if note else {}), **(facts or {})}
        return registry.publish("base", name, Path(folder), base=base, base_revision=revision, metadata=metadata)
