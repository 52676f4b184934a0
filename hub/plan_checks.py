"""The checks of a push, one function each: is it intact, does the card fit, does anything private stand in a file.

Every check gives a `Check`; those that refuse are all shown together, and `push` raises them.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hub.allow_list import LICENCE, Rules
from hub.card import require_base_id
from hub.kind_lists import DATASET_REPORT, MANIFEST_FILE
from hub.leaks import has_token, home_paths, local_paths
from hub.plan_texts import texts_of
from hub.side_files import card_data
from medley.errors import HubError, UserError
from medley.lm.adapter_file import CONFIG_FILE, hub_id

if TYPE_CHECKING:
    from hub.records import Version
    from hub.registry import Registry

CARD_FILE = "README.md"
OUR_TEXTS = (CONFIG_FILE, "recipe.yaml", "merge_report.json", CARD_FILE)  # any absolute path in them is a leak
Outcome = Literal["ok", "warning", "refused"]


class Check(NamedTuple):
    """One thing that was looked at, and what was found."""

    name: str
    outcome: Outcome
    sentence: str


def check_intact(registry: "Registry", version: "Version") -> Check:
    problems = [str(problem) for problem in registry.verify(version.label).problems]
    if problems:
        return Check("files", "refused", f"{problems[0]}. The registry's copy is damaged; import or make it again.")
    return Check("files", "ok", f"{len(registry.files(version.id))} files are as they were published.")


def check_base(version: "Version") -> Check:
    """Whether a reader of the Hub can know the base; a full model can be loaded without it, an adapter cannot."""
    if version.kind == "adapter":
        try:
            return Check("base", "ok", f"{require_base_id(version)} is named as on the Hub.")
        except HubError as error:
            return Check("base", "refused", str(error))
    if hub_id(version.base):
        return Check("base", "ok", f"{version.base} is named as on the Hub.")
    return Check("base", "warning", "Its base has no Hub id, so the card cannot name what it was made from.")


def check_card(version: "Version", card: str, files: Mapping[str, Any]) -> Check:
    """Whether the card's metadata, maybe edited by hand, still say what the Hub and its readers need."""
    try:
        about = card_data(card) or {}
    except UserError as error:
        return Check("card", "refused", str(error))
    problem, good = CARD_RULES[version.kind](version, about, files)
    return Check("card", "refused", problem) if problem else Check("card", "ok", good)


def _adapter_card(version: "Version", about: Mapping[str, Any], files: Mapping[str, Any]) -> tuple[str, str]:
    wrong = about.get("base_model") not in (version.base, [version.base])
    problem = f"The card's metadata must say 'base_model: {version.base}'." if wrong else ""
    return problem, "README.md has the Hub's metadata: base, relation, task and tags."


def _model_card(version: "Version", about: Mapping[str, Any], files: Mapping[str, Any]) -> tuple[str, str]:
    named = about.get("base_model") or []
    named = named if isinstance(named, list) else [named]
    outside = next((str(each) for each in named if not isinstance(each, str) or hub_id(each) is None), None)
    problem = ""
    if outside is not None:
        problem = f"The card's metadata name the base model {outside[:100]!a}, which is no Hub id."
    elif hub_id(version.base) and version.base not in named:
        problem = f"The card's metadata must name the base, {version.base}, in the list 'base_model'."
    return problem, "README.md has the Hub's metadata: bases, relation, library, task and tags."


def _dataset_card(version: "Version", about: Mapping[str, Any], files: Mapping[str, Any]) -> tuple[str, str]:
    configs = about.get("configs")
    parts = [part for config in configs or () if isinstance(config, dict) for part in config.get("data_files") or ()]
    paths = [str(part.get("path")) for part in parts if isinstance(part, dict)]
    strange = next((path for path in paths if path not in files), None)
    problem = ""
    if strange is not None:
        problem = f"The card's metadata name the file {strange[:100]!a}, which is not among those to upload."
    elif not paths:
        problem = "The card's metadata must name the file of each split under 'configs', so that it can be loaded."
    return problem, "README.md has the Hub's metadata: the file of each split, task, size and tags."


CARD_RULES: Mapping[str, Callable[["Version", Mapping[str, Any], Mapping[str, Any]], tuple[str, str]]] = {
    "adapter": _adapter_card,
    "model": _model_card,
    "dataset": _dataset_card,
}


def check_private(
    registry: "Registry", contents: Mapping[str, Path | bytes], replaced: list[str]
) -> tuple[Check, Check]:
    """The checks for local paths and for tokens, in one reading of every file."""
    path = token = None
    for name, content in contents.items():
        for text in texts_of(name, content):
            found = (local_paths(text) if name in OUR_TEXTS else []) or home_paths(text, [registry.home])
            if found and path is None:
                path = f"{name} names {found[0]!r}, a folder of a computer. Remove it."
            if token is None and has_token(text):
                token = f"{name} holds what looks like an access token. Remove and revoke it."
    if path:
        paths = Check("local paths", "refused", path)
    elif replaced:
        changed = f"{', '.join(replaced)}: written anew for the Hub, without local paths and with the base's Hub id."
        paths = Check("local paths", "warning", changed)
    else:
        paths = Check("local paths", "ok", "No file names a folder of this computer.")
    tokens = Check("tokens", "refused", token) if token else Check("tokens", "ok", "No file holds an access token.")
    return paths, tokens


def check_licence(version: "Version", contents: Mapping[str, Any], card: str) -> Check:
    stated = version.metadata.get("licence")
    has_file = any(LICENCE.fullmatch(name) for name in contents)
    if stated or has_file or re.search(r"^license: \S", card, re.MULTILINE):
        return Check("licence", "ok", f"{stated} is stated." if stated else "A licence is stated.")
    return Check("licence", "warning", "No licence is stated, so others may not use it. Add 'license: …' to the card.")


def check_identity(kind: str, contents: Mapping[str, Any]) -> Check:
    """Whether a pull can bring the version back under its id."""
    if MANIFEST_FILE in contents:
        return Check("identity", "ok", f"{MANIFEST_FILE} carries its id, so a pull brings back the same {kind}.")
    text = "A file or the recipe had to be changed for the Hub, so a pull brings it back under another id."
    return Check("identity", "warning", text)


def check_left_out(left_out: list[str], rules: Rules) -> Check:
    return Check("left out", "warning", f"{', '.join(left_out)}: not part of {rules.noun}, not uploaded.")


def check_rows(version: "Version", contents: Mapping[str, Any]) -> Check:
    """Whether a dataset has rows to train on and its report beside them."""
    missing = [name for name in ("train.jsonl", DATASET_REPORT) if name not in contents]
    if missing:
        return Check("rows", "refused", f"{version.label} has no {' and no '.join(missing)}; import the dataset again.")
    return Check("rows", "ok", "Its rows and the report of its import are there.")
