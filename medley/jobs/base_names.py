"""What adapters call their base: a Hub id with a commit, or the digest of weights that are on no Hub.

A registered base is called what it was recorded as. A model that was merged or folded here is a base as well; it is
called by the digest of its own weights, and never by the id of the base that it was made from.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub import Version

FOLDER_PREFIX = "folder:"
BASE_KINDS = ("base", "model")


def identity_of(base: "Version") -> tuple[str, str | None]:
    """(Hub id or "folder:<digest>", revision) that an adapter trained on `base` records.

    Args:
        base: a version of kind `base` or `model`.
    """
    from medley.lm.base_folder import weights_digest

    if base.kind != "model":
        return str(base.base), base.base_revision
    return FOLDER_PREFIX + (base.metadata.get("weights_digest") or weights_digest(base.path)), None


def belongs_to(adapter: Any, base: "Version") -> bool:
    """Whether the adapter's base is this one: the same model, and no two different revisions of it."""
    known_as, revision = identity_of(base)
    return adapter.base == known_as and len({adapter.base_revision, revision} - {None}) <= 1


def identity_text(known_as: str, revision: str | None) -> str:
    """A base for a sentence: `org/name@3f2a91bc`, or the beginning of a digest."""
    if known_as.startswith(FOLDER_PREFIX):
        return known_as[: len(FOLDER_PREFIX) + 8]
    return f"{known_as}@{revision[:8]}" if revision else known_as
