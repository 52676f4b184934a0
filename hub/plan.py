"""What a push would upload, and whether it may: made without the network, shown before anything leaves the machine.

The files are those of the version that stand on its kind's allow-list, with a freshly written card. The registry's own
copies are never changed: a file that names a local path is planned as a cleaned copy. The checks are in plan_checks.py,
the texts that they read in plan_texts.py.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from hub import plan_checks as checks
from hub.card import CARDS, build_card
from hub.kind_lists import MANIFEST_FILE, RULES
from hub.leaks import without_local_paths
from hub.manifest import to_text
from hub.plan_checks import CARD_FILE, Check, Outcome
from hub.plan_texts import cleaned
from hub.remote import checked_repo_id
from medley.errors import HubError, NotFoundError, ProblemsError

if TYPE_CHECKING:
    from hub.records import Version
    from hub.registry import Registry

__all__ = ["CARD_FILE", "Check", "Outcome", "PlannedFile", "PushPlan", "plan_push"]

RepoType = Literal["model", "dataset"]


class PlannedFile(NamedTuple):
    """One file of the commit; `path` is its name in the repo."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class PushPlan:
    """All that a push needs besides a token.

    Attributes:
        label: the version, for example "pirate:v3"; its number becomes the tag.
        kind: "adapter", "model" or "dataset".
        contents: where each file's bytes are: a file of the registry, or the bytes themselves where they were written
            or cleaned for this push.
    """

    label: str
    kind: str
    version_id: str
    repo_id: str
    is_private: bool
    files: tuple[PlannedFile, ...]
    contents: Mapping[str, Path | bytes] = field(repr=False)
    card: str = field(repr=False)
    checks: tuple[Check, ...]

    @property
    def repo_type(self) -> RepoType:
        """The Hub's word for the repo: adapters are models there."""
        return "dataset" if self.kind == "dataset" else "model"

    @property
    def page(self) -> str:
        """The address of the repo's page below the Hub's own."""
        return f"datasets/{self.repo_id}" if self.kind == "dataset" else self.repo_id

    @property
    def visibility(self) -> str:
        return "private" if self.is_private else "public"

    @property
    def tag(self) -> str:
        return self.label.rpartition(":")[2]

    @property
    def total_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def refusals(self) -> tuple[str, ...]:
        return tuple(check.sentence for check in self.checks if check.outcome == "refused")

    def require_ok(self) -> None:
        """Nothing, if it may be pushed.

        Raises:
            HubError, ProblemsError: every check that refuses it.
        """
        if len(self.refusals) == 1:
            raise HubError(self.refusals[0])
        if self.refusals:
            raise ProblemsError(f"the push of {self.label}", self.refusals)


def plan_push(registry: "Registry", ref: str, repo_id: str, *, private: bool, card: str | None = None) -> PushPlan:
    """The plan for publishing a version; checks that refuse it are in the plan, `push` raises them.

    Args:
        ref: the version of an adapter, a model or a dataset, for example "pirate:production".
        repo_id: "owner/name"; made by the push when absent.
        private: whether only its owner may see it.
        card: a README.md to use instead of the one written here.

    Raises:
        NotFoundError, InvalidNameError: no such version, or no such way to write a repo.
    """
    version = _pushable(registry, ref)
    checked_repo_id(repo_id)
    rules = RULES[version.kind]
    found = [checks.check_intact(registry, version)]
    if version.kind != "dataset":
        found.append(checks.check_base(version))
    if card is None:
        card = "" if any(check.outcome == "refused" for check in found[1:]) else build_card(registry, version, repo_id)
    sources, left_out = _allowed_files(registry, version)
    contents, replaced = cleaned(registry, version, sources)
    contents[CARD_FILE] = card.encode()
    if version.kind != "adapter":
        _add_manifest(registry, version, contents)
    found += [checks.check_card(version, card, contents)] if card else []
    found += checks.check_private(registry, contents, replaced)
    found.append(checks.check_licence(version, contents, card))
    if version.kind == "dataset":
        found.append(checks.check_rows(version, contents))
    if version.kind != "adapter":
        found.append(checks.check_identity(version.kind, contents))
    if left_out:
        found.append(checks.check_left_out(left_out, rules))
    files = _list_files(registry, version, contents)
    return PushPlan(version.label, version.kind, version.id, repo_id, private, files, contents, card, tuple(found))


def _pushable(registry: "Registry", ref: str) -> "Version":
    version = registry.get(ref)
    if version.kind not in CARDS:
        raise NotFoundError(f"{version.label} is a {version.kind}; adapters, models and datasets can be pushed.")
    return version


def _allowed_files(registry: "Registry", version: "Version") -> tuple[dict[str, Path], list[str]]:
    """The version's files that may be uploaded and are there, and the names of those that may not."""
    names = [entry.path for entry in registry.files(version.id) if entry.path != CARD_FILE]
    allowed = [name for name in names if RULES[version.kind].takes(name)]
    found = {name: version.path / name for name in allowed if (version.path / name).is_file()}
    return found, sorted(set(names) - set(allowed))


def _add_manifest(registry: "Registry", version: "Version", contents: dict[str, Path | bytes]) -> None:
    """Put the version's manifest beside its files, if they are uploaded as they are and it says nothing private."""
    manifest = registry.manifest(version.id)
    is_whole = all(contents.get(entry.path) == version.path / entry.path for entry in manifest.files)
    if is_whole and without_local_paths(manifest.recipe or "") == (manifest.recipe or ""):
        contents[MANIFEST_FILE] = to_text(manifest).encode()


def _list_files(
    registry: "Registry", version: "Version", contents: Mapping[str, Path | bytes]
) -> tuple[PlannedFile, ...]:
    recorded = {entry.path: entry for entry in registry.files(version.id)}
    files = []
    for name, content in sorted(contents.items()):
        if isinstance(content, bytes):
            files.append(PlannedFile(name, len(content), hashlib.sha256(content).hexdigest()))
        else:
            files.append(PlannedFile(name, recorded[name].size_bytes, recorded[name].sha256))
    return tuple(files)
