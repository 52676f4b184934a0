"""Folders that stand before a registry name: where both are called alike, the folder is taken, and people are told."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from medley.jobs.base_names import BASE_KINDS
from medley.jobs.bases import looks_like_path

if TYPE_CHECKING:
    from hub import Registry


def shadow_warning(registry: "Registry", ref: str) -> str | None:
    """What to tell somebody whose bare name was taken for a folder; None where the registry has nothing of that name.

    Args:
        ref: as it was written; what begins as a path can mean nothing else.
    """
    if looks_like_path(ref) or not registry.exists(ref):
        return None
    version = registry.get(ref)
    if version.kind not in ("adapter", *BASE_KINDS):
        return None
    other = version.label if version.label != ref else f"sha256:{version.id[:8]}"
    return (
        f"'{ref}' is the folder ./{ref} here, not {version.label} of the registry. Write ./{ref} to be sure of the "
        f"folder, or {other} for the registry's."
    )


def warnings_of(found: Iterable[Any]) -> list[str]:
    """The warnings of adapters and models that were found, each once."""
    return list(dict.fromkeys(each.warning for each in found if each.warning))
