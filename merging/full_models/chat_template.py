"""The chat template of a merged model: one of mergekit's, the one that most inputs have, or a text of one's own."""

import json
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from merging.full_models.tokenizer import CHAT_TEMPLATES

FILE_NAME = "chat_template.jinja"
CONFIG_NAME = "tokenizer_config.json"


def template_text(chosen: str, models: Sequence[Path]) -> str | None:
    """The text that a recipe's `chat_template` means; None for `auto` where no model has one.

    Args:
        chosen: `auto`, a name, or the text itself.
        models: the inputs' folders; for `auto`, the first of those that most of them have.
    """
    if chosen == "auto":
        found = [template.strip() for folder in models if (template := read_template(folder))]
        return Counter(found).most_common(1)[0][0] if found else None
    if chosen in CHAT_TEMPLATES:
        return files("mergekit._data.chat_templates").joinpath(f"{chosen}.jinja").read_text(encoding="utf-8")
    return chosen


def read_template(folder: Path) -> str | None:
    """The chat template of a model folder, wherever it is kept, or None."""
    if (folder / FILE_NAME).is_file():
        return (folder / FILE_NAME).read_text(encoding="utf-8")
    kept = _tokenizer_config(folder).get("chat_template")
    if isinstance(kept, list):  # older files name several
        kept = next((each["template"] for each in kept if each.get("name") == "default"), None)
    return kept


def write_template(folder: Path, text: str) -> None:
    """Make it the template of the model in `folder`; one in tokenizer_config.json would contradict it and goes."""
    (folder / FILE_NAME).write_text(text, encoding="utf-8")
    config = _tokenizer_config(folder)
    if config.pop("chat_template", None) is not None:
        (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _tokenizer_config(folder: Path) -> dict[str, object]:
    path = folder / CONFIG_NAME
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
