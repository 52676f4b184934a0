"""What may stand in a base model's folder, checked from file names and JSON before any library opens it.

Weights are safetensors only, code is never run, nothing is fetched. No torch here; loading is `medley.lm.load`.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medley.errors import BaseModelError, ProblemsError
from medley.lm.strict_files import every_key

SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
CHUNK_BYTES = 1 << 20


def check_base_folder(folder: Path) -> None:
    """Nothing, if the folder is a base model that may be loaded.

    Raises:
        BaseModelError or ProblemsError: what is missing or not allowed, all of it at once.
    """
    if not (folder / "config.json").is_file():
        has_adapter = (folder / "adapter_config.json").is_file()
        kind = "it is an adapter, and a base model is needed" if has_adapter else "it has no config.json"
        raise BaseModelError(f"{folder} is not a base model: {kind}.")
    config = _read_json(folder / "config.json")
    problems = [*_code_problems(folder, config), *_weight_problems(folder)]
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")):
        problems.append(f"{folder} has no tokenizer (tokenizer.json).")
    if problems:
        raise BaseModelError(problems[0]) if len(problems) == 1 else ProblemsError(f"the base {folder}", problems)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a base folder, sorted by name."""
    return sorted(path for path in folder.glob("*.safetensors") if path.name != "adapter_model.safetensors")


def loaded_files(folder: Path) -> list[Path]:
    """Of those the files that transformers loads: model.safetensors, else those that an index names, else all.

    Some repositories hold their weights once more under other names (consolidated.safetensors).

    Raises:
        BaseModelError: there are none, or the index cannot be read or names files that are not there.
    """
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    if not (folder / INDEX_FILE).is_file():
        files = weight_files(folder)
        if not files:
            raise BaseModelError(f"{folder} has no weights (*.safetensors).")
        return files
    try:
        names = sorted(set(json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BaseModelError(f"{folder / INDEX_FILE} has no weight_map that can be read.") from error
    missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        shown = f"{len(missing)} of {len(names)} weight files"
        raise BaseModelError(f"{shown} are missing in {folder}, the first is {missing[0]!r:.80}.")
    return [folder / name for name in names]


def weights_digest(folder: Path) -> str:
    """sha256 over the names and contents of the weight files: the same digest means the same weights.

    Raises:
        BaseModelError: the folder has no safetensors.
    """
    files = weight_files(folder)
    if not files:
        raise BaseModelError(f"{folder} has no safetensors weights.")
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def template_text(folder: Path) -> str | None:
    """The text of the folder's chat template, wherever it is kept; None where there is none.

    Raises:
        BaseModelError: tokenizer_config.json cannot be read.
    """
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8", errors="replace") or None
    template = _read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, list):  # older files name several
        named = (each for each in template if isinstance(each, dict) and each.get("name") == "default")
        template = next((each.get("template") for each in named), None)
    return template if isinstance(template, str) and template else None


def _code_problems(folder: Path, config: dict[str, Any]) -> Iterator[str]:
    scripts = sorted(path.name for path in folder.rglob("*.py"))
    if scripts:
        yield f"The base contains code ({', '.join(scripts[:3])}); Medley never runs a model's own code."
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        content = config if name == "config.json" else _read_json(folder / name)
        for key, value in every_key(content):
            if key == "auto_map" and value:
                yield f"{name} names code to run (auto_map); Medley never runs a model's own code."
            if key.endswith(("_implementation", "_implementation_internal")) and "/" in str(value):
                yield f"{name} asks for a kernel to be fetched ({key} = {value!r}); Medley never fetches code."
    if (folder / "adapter_config.json").is_file():
        yield f"{folder} holds an adapter beside the base; give the base a folder of its own."


def _weight_problems(folder: Path) -> Iterator[str]:
    if not weight_files(folder):
        pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
        if pickled:
            yield f"{folder} has only pickled weights ({pickled[0]}); Medley loads safetensors only."
        else:
            yield f"{folder} has no weights (*.safetensors)."
        return
    if (folder / INDEX_FILE).is_file():
        shards = _read_json(folder / INDEX_FILE).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
            yield f"{INDEX_FILE} has no weight_map."
            return
        names = set(shards.values())
        outside = sorted(name for name in names if Path(name).name != name)
        if outside:
            yield f"{INDEX_FILE} points outside its folder ({outside[0]!r})."
        missing = sorted(name for name in names - set(outside) if not (folder / name).is_file())
        if missing:
            yield f"{len(missing)} of {len(names)} weight files are missing, the first is {missing[0]}."


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BaseModelError(f"{path} is not valid JSON ({error}).") from error
    if not isinstance(content, dict):
        raise BaseModelError(f"{path} must hold a JSON object.")
    return content
