"""The card of a version: a README.md with the Hub's metadata in front and what a reader needs to know after it.

Everything comes from the registry's record; what is not known is not claimed. The text never holds a local path or a
token: what a user wrote (recipe, notes, names) passes through `hub.leaks` on its way in. One file per kind writes it.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hub.card_adapter import adapter_card, require_base_id
from hub.card_dataset import dataset_card
from hub.card_model import model_card
from medley.errors import HubError

if TYPE_CHECKING:
    from hub.records import Version
    from hub.registry import Registry

__all__ = ["CARDS", "build_card", "require_base_id"]

CARDS: Mapping[str, Callable[["Registry", "Version", str], str]] = {
    "adapter": adapter_card,
    "model": model_card,
    "dataset": dataset_card,
}


def build_card(registry: "Registry", version: "Version", repo_id: str | None = None) -> str:
    """The README.md of a version.

    Args:
        repo_id: where it will be published, for the example; its name stands there otherwise.

    Raises:
        HubError: it is of a kind that has no card, or an adapter whose base has no Hub id.
    """
    if version.kind not in CARDS:
        raise HubError(f"{version.label} is a {version.kind}; only {', '.join(CARDS)} versions have a card.")
    return CARDS[version.kind](registry, version, repo_id or version.name)
