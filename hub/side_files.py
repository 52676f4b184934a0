"""Checks of the text files that come with an adapter: the card's YAML, the tokenizer's settings, the chat template.

YAML is read as a stream of events first, so that an alias bomb or a tag that builds Python objects is refused before
anything is built. A chat template is tried in a child process with limits, although Medley never renders an adapter's
own: prompts are written by the base's template. It is kept for whoever loads the adapter elsewhere.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medley.errors import AdapterFormatError
from medley.lm.adapter_file import hub_id, read_json_object
from medley.lm.template_check import template_problem

MAX_YAML_BYTES = 64 * 1024
MAX_YAML_EVENTS = 20_000
MAX_YAML_DEPTH = 12
FRONT_MATTER = re.compile(r"\A(?:\ufeff)?\s*---[ \t]*\r?\n(.*?)^---[ \t\r]*$", re.DOTALL | re.MULTILINE)
JSON_FILES = {  # name: the most bytes
    "tokenizer_config.json": 16 * 1024 * 1024,
    "special_tokens_map.json": 1024 * 1024,
    "added_tokens.json": 16 * 1024 * 1024,
    "merge_report.json": 64 * 1024 * 1024,
}
TEXT_FILES = ("README.md", "recipe.yaml", "chat_template.jinja")
CODE_KEYS = ("auto_map", "custom_pipeline")
WITHOUT_TEMPLATE = "Remove it; the base's own is used."


def check_side_files(files: Mapping[str, Path], advice: str = WITHOUT_TEMPLATE) -> dict[str, str]:
    """Files that had better stay behind, and why; usually none.

    Args:
        advice: what to do about a chat template that does harm.

    Raises:
        AdapterFormatError: a file that is damaged or could do harm when somebody reads it later.
    """
    texts = {name: _read_text(files[name], name) for name in TEXT_FILES if name in files}
    for name, most in JSON_FILES.items():
        if name in files:
            _check_settings(read_json_object(files[name], most), name, advice)
    if "chat_template.jinja" in texts:
        _check_template(texts["chat_template.jinja"], "chat_template.jinja", advice)
    if "recipe.yaml" in texts:
        check_yaml(texts["recipe.yaml"], "recipe.yaml")
    card = card_data(texts.get("README.md", ""))
    if card and _names_a_path(card.get("base_model")):
        return {"README.md": "it names the base model by a local path"}
    return {}


def _read_text(path: Path, name: str) -> str:
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise AdapterFormatError(f"{name} is not UTF-8 text. Save it as UTF-8 or leave it out.") from error
    if "\x00" in text:
        raise AdapterFormatError(f"{name} is not text: it holds NUL characters.")
    return text


def _check_settings(settings: Mapping[str, Any], name: str, advice: str) -> None:
    for template in _templates(settings.get("chat_template")):
        _check_template(template, name, advice)
    key = next((key for key in CODE_KEYS if settings.get(key)), None)
    if key:
        raise AdapterFormatError(f"{name} has '{key}', which makes transformers import code. Remove the key.")


def _templates(value: Any) -> list[str]:
    """The texts in a tokenizer's `chat_template`: one, or a list of named ones."""
    named = value if isinstance(value, list) else [value]
    texts = [each.get("template") if isinstance(each, dict) else each for each in named]
    return [text for text in texts if isinstance(text, str)]


def _check_template(text: str, name: str, advice: str) -> None:
    problem = template_problem(text)
    if problem:
        raise AdapterFormatError(f"The chat template in {name} {problem}. {advice}")


def card_data(text: str) -> dict[str, Any] | None:
    """The front matter of a README as a dict, or None if it has none.

    Raises:
        AdapterFormatError: YAML that is too large, has aliases or tags, or is not a mapping.
    """
    import yaml

    match = FRONT_MATTER.match(text)
    if match is None:
        return None
    check_yaml(match[1], "README.md")
    try:
        data = yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-45
        raise AdapterFormatError(f"The YAML of README.md cannot be read: {_first_line(error)}.") from error
    if data is not None and not isinstance(data, dict):
        raise AdapterFormatError(f"The front matter of README.md must be a mapping, found {type(data).__name__}.")
    return data


def card_licence(path: Path | None) -> str | None:
    """The licence that a README's front matter names, or None.

    Raises:
        AdapterFormatError: as `card_data`.
    """
    about = card_data(_read_text(path, path.name)) if path else None
    named = (about or {}).get("license_name") or (about or {}).get("license")
    return named[:100] if isinstance(named, str) and named.isprintable() else None


def check_yaml(text: str, name: str) -> None:
    """Refuse YAML that is not plain data: too large, too deep, with aliases (a bomb needs them) or with tags."""
    import yaml

    if len(text.encode()) > MAX_YAML_BYTES:
        raise AdapterFormatError(f"The YAML of {name} has more than {MAX_YAML_BYTES:,} bytes.")
    depth = count = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            count += 1
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise AdapterFormatError(f"The YAML of {name} uses aliases ('*{event.anchor[:40]}'); write it out.")
            if getattr(event, "tag", None):
                raise AdapterFormatError(f"The YAML of {name} has the tag {event.tag[:80]!r}; only plain data is read.")
            if depth > MAX_YAML_DEPTH or count > MAX_YAML_EVENTS:
                raise AdapterFormatError(f"The YAML of {name} is too deep or has too many parts.")
    except (yaml.YAMLError, RecursionError) as error:
        raise AdapterFormatError(f"The YAML of {name} cannot be read: {_first_line(error)}.") from error


def _first_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or type(error).__name__}{where}"


def _names_a_path(base_model: Any) -> bool:
    names = base_model if isinstance(base_model, list) else [base_model]
    return any(name is not None and hub_id(str(name)) is None for name in names)
