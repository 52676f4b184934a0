"""The manifest of a version as a file beside it (`medley.json`): how a model or a dataset comes back under its own id.

The file is the manifest's canonical spelling, so its sha256 is the version's id. It is a claim of whoever published it:
it counts only where every file beside it is the one it lists, and all it can then say is what those files were made
from.
"""

import re
from pathlib import Path

from hub.files import hash_file
from hub.kind_lists import MANIFEST_FILE, RULES
from hub.manifest import FORMAT, Manifest, from_text, to_text
from hub.names import is_id
from medley.errors import AdapterFormatError
from medley.lm.adapter_file import hub_id, read_json_object

MAX_BYTES = 1024 * 1024
ROLE = re.compile(r"[a-z][a-z0-9 _-]{0,39}")
FOLDER_BASE = re.compile(r"folder:[0-9a-f]{64}")
REVISION = re.compile(r"\w[\w./+-]{0,254}", re.ASCII)


def read_manifest_file(folder: Path, kind: str) -> Manifest | None:
    """The manifest in a folder of private copies, or None where there is none.

    Raises:
        AdapterFormatError: it is damaged, of another kind, or claims what no version can have.
    """
    path = folder / MANIFEST_FILE
    if not path.exists():
        return None
    found = read_json_object(path, MAX_BYTES)
    if found.get("format") != FORMAT or found.get("kind") != kind:
        raise AdapterFormatError(f"{MANIFEST_FILE} is not the manifest of a {kind} in format {FORMAT}. Remove it.")
    text = path.read_text(encoding="utf-8")
    try:
        manifest = from_text(text)
        is_canonical = to_text(manifest) == text.strip()
    except (KeyError, TypeError, ValueError):
        is_canonical = False
    if not is_canonical:
        raise AdapterFormatError(f"{MANIFEST_FILE} was changed by hand or is damaged. Remove it.")
    _check_claims(manifest)
    return manifest


def _check_claims(manifest: Manifest) -> None:
    """Refuse what `Registry.publish` would take from ourselves, but nobody may claim from outside."""
    base, revision, recipe = manifest.base, manifest.base_revision, manifest.recipe
    rules = RULES[manifest.kind]
    is_good = (
        (base is None or (isinstance(base, str) and bool(hub_id(base) or FOLDER_BASE.fullmatch(base))))
        and (revision is None or (isinstance(revision, str) and bool(REVISION.fullmatch(revision))))
        and (recipe is None or isinstance(recipe, str))
        and all(isinstance(each.id, str) and is_id(each.id) for each in manifest.parents)
        and all(isinstance(each.role, str) and ROLE.fullmatch(each.role) for each in manifest.parents)
        and all(isinstance(each.path, str) and rules.takes(each.path) for each in manifest.files)
    )
    if not is_good:
        raise AdapterFormatError(f"{MANIFEST_FILE} names a base, parents or files that no {manifest.kind} has.")


def fits(manifest: Manifest, folder: Path) -> bool:
    """Whether the folder holds every file of the manifest, each with the size and sha256 that it says."""
    for entry in manifest.files:
        path = folder / entry.path
        if not path.is_file() or hash_file(path) != (entry.size_bytes, entry.sha256):
            return False
    return True
