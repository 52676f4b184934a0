"""What a push would upload, and whether it may: made without the network, shown before anything leaves the machine.

The files are those of the adapter version that stand on the allow-list, with a freshly written card. The registry's
own copies are never changed: a file that names a local path is planned as a cleaned copy.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hub.allow_list import LICENCE, TAKEN
from hub.card import build_card, require_base_id
from hub.leaks import LOCAL_PATH, has_token, home_paths, last_part, local_paths, without_local_paths
from hub.remote import checked_repo_id
from hub.side_files import card_data
from medley.errors import HubError, ProblemsError, UserError
from medley.lm.adapter_file import CONFIG_FILE, WEIGHTS_FILE

if TYPE_CHECKING:
    from hub.records import Version
    from hub.registry import Registry

CARD_FILE = "README.md"
OUR_TEXTS = (CONFIG_FILE, "recipe.yaml", "merge_report.json", CARD_FILE)  # any absolute path in them is a leak
BINARY_SUFFIXES = (".model",)
MAX_HEADER_BYTES = 16 * 1024 * 1024
Outcome = Literal["ok", "warning", "refused"]


class PlannedFile(NamedTuple):
    """One file of the commit; `path` is its name in the repo."""

    path: str
    size_bytes: int
    sha256: str


class Check(NamedTuple):
    """One thing that was looked at, and what was found."""

    name: str
    outcome: Outcome
    sentence: str


@dataclass(frozen=True)
class PushPlan:
    """All that a push needs besides a token.

    Attributes:
        label: the version, for example "pirate:v3"; its number becomes the tag.
        contents: where each file's bytes are: a file of the registry, or the bytes themselves where they were written
            or cleaned for this push.
    """

    label: str
    version_id: str
    repo_id: str
    is_private: bool
    files: tuple[PlannedFile, ...]
    contents: Mapping[str, Path | bytes] = field(repr=False)
    card: str = field(repr=False)
    checks: tuple[Check, ...]

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
    """The plan for publishing an adapter; checks that refuse it are in the plan, `push` raises them.

    Args:
        ref: the adapter version, for example "pirate:production".
        repo_id: "owner/name"; made by the push when absent.
        private: whether only its owner may see it.
        card: a README.md to use instead of the one written here.

    Raises:
        NotFoundError, InvalidNameError: no such adapter, or no such way to write a repo.
    """
    version = registry.get(ref, kind="adapter")
    checked_repo_id(repo_id)
    intact = _check_intact(registry, version)
    base = _check_base(version)
    if card is None:
        card = build_card(registry, version, repo_id) if base.outcome == "ok" else ""
    sources, left_out = _allowed_files(registry, version)
    contents, replaced = _cleaned(registry, version, sources)
    contents[CARD_FILE] = card.encode()
    texts = {name: _text_of(name, content) for name, content in contents.items()}
    checks = [intact, base, *([_check_card(version, card)] if card else [])]
    checks += [_check_paths(registry, texts, replaced), _check_tokens(texts), _check_licence(version, contents, card)]
    if left_out:
        checks.append(Check("left out", "warning", f"{', '.join(left_out)}: not part of an adapter, not uploaded."))
    files = _list_files(registry, version, contents)
    return PushPlan(version.label, version.id, repo_id, private, files, contents, card, tuple(checks))


def _check_intact(registry: "Registry", version: "Version") -> Check:
    problems = [str(problem) for problem in registry.verify(version.label).problems]
    if problems:
        return Check("files", "refused", f"{problems[0]}. The registry's copy is damaged; import or make it again.")
    return Check("files", "ok", f"{len(registry.files(version.id))} files are as they were published.")


def _check_base(version: "Version") -> Check:
    try:
        return Check("base", "ok", f"{require_base_id(version)} is named as on the Hub.")
    except HubError as error:
        return Check("base", "refused", str(error))


def _check_card(version: "Version", card: str) -> Check:
    try:
        about = card_data(card) or {}
    except UserError as error:
        return Check("card", "refused", str(error))
    if about.get("base_model") not in (version.base, [version.base]):
        return Check("card", "refused", f"The card's metadata must say 'base_model: {version.base}'.")
    return Check("card", "ok", "README.md has the Hub's metadata: base, relation, task and tags.")


def _allowed_files(registry: "Registry", version: "Version") -> tuple[dict[str, Path], list[str]]:
    """The version's files that may be uploaded and are there, and the names of those that may not."""
    names = [entry.path for entry in registry.files(version.id) if entry.path != CARD_FILE]
    allowed = [name for name in names if name in TAKEN or LICENCE.fullmatch(name)]
    found = {name: version.path / name for name in allowed if (version.path / name).is_file()}
    return found, sorted(set(names) - set(allowed))


def _cleaned(
    registry: "Registry", version: "Version", sources: Mapping[str, Path]
) -> tuple[dict[str, Path | bytes], list[str]]:
    """The contents to upload, and which files had to be changed for that."""
    contents: dict[str, Path | bytes] = dict(sources)
    replaced = []
    cleaners: dict[str, Callable[[str], str]] = {
        CONFIG_FILE: lambda text: _clean_config(text, version.base),
        "recipe.yaml": lambda text: _clean_ours(registry, text),
        "merge_report.json": lambda text: _clean_ours(registry, text),
        "tokenizer_config.json": _clean_values,
    }
    for name in sorted(set(cleaners) & set(sources)):
        old = sources[name].read_bytes().decode("utf-8", "replace")
        new = cleaners[name](old)
        if new != old:
            contents[name] = new.encode()
            replaced.append(name)
    return contents, replaced


def _clean_config(text: str, base: str | None) -> str:
    settings = _json_object(text)
    if settings is None:
        return text
    if base is not None and settings.get("base_model_name_or_path") != base:
        settings["base_model_name_or_path"] = base
        text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return without_local_paths(text)


def _clean_ours(registry: "Registry", text: str) -> str:
    """A recipe or report whose inputs were folders of the store: they get the names they have in the registry."""
    store = str(registry.home / "store")

    def named(path: str) -> str:
        found = re.search(r"[0-9a-f]{64}", path)
        if not found or not path.startswith(store):
            return last_part(path)
        try:
            return registry.get(found[0]).label
        except UserError:
            return f"sha256:{found[0]}"

    return without_local_paths(text, named)


def _clean_values(text: str) -> str:
    """A tokenizer's settings without values that are a path as a whole; templates and tokens stay as they are."""
    settings = _json_object(text)
    if settings is None:
        return text
    paths = [key for key, value in settings.items() if isinstance(value, str) and LOCAL_PATH.fullmatch(value)]
    if not paths:
        return text
    settings = {key: last_part(value) if key in paths else value for key, value in settings.items()}
    return json.dumps(settings, indent=2, ensure_ascii=False) + "\n"


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:  # a damaged file, which the check of the files has refused
        return None
    return value if isinstance(value, dict) else None


def _text_of(name: str, content: Path | bytes) -> str:
    """What a reader of the file could find in it: all of a text, the header of a weights file."""
    if isinstance(content, bytes):
        return content.decode("utf-8", "replace")
    if name.endswith(BINARY_SUFFIXES):
        return content.read_bytes().decode("latin-1")
    if name != WEIGHTS_FILE:
        return content.read_bytes().decode("utf-8", "replace")
    with content.open("rb") as file:
        length = min(int.from_bytes(file.read(8), "little"), MAX_HEADER_BYTES)
        return file.read(length).decode("utf-8", "replace")


def _check_paths(registry: "Registry", texts: Mapping[str, str], replaced: list[str]) -> Check:
    for name, text in texts.items():
        found = (local_paths(text) if name in OUR_TEXTS else []) or home_paths(text, [registry.home])
        if found:
            return Check("local paths", "refused", f"{name} names {found[0]!r}, a folder of a computer. Remove it.")
    if replaced:
        changed = f"{', '.join(replaced)}: written anew for the Hub, without local paths and with the base's Hub id."
        return Check("local paths", "warning", changed)
    return Check("local paths", "ok", "No file names a folder of this computer.")


def _check_tokens(texts: Mapping[str, str]) -> Check:
    for name, text in texts.items():
        if has_token(text):
            return Check("tokens", "refused", f"{name} holds what looks like an access token. Remove and revoke it.")
    return Check("tokens", "ok", "No file holds an access token.")


def _check_licence(version: "Version", contents: Mapping[str, Any], card: str) -> Check:
    stated = version.metadata.get("licence")
    has_file = any(LICENCE.fullmatch(name) for name in contents)
    if stated or has_file or re.search(r"^license: \S", card, re.MULTILINE):
        return Check("licence", "ok", f"{stated} is stated." if stated else "A licence is stated.")
    return Check("licence", "warning", "No licence is stated, so others may not use it. Add 'license: …' to the card.")


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
