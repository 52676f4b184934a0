"""What the registry notes of a full model that we made or took in: read from its files before they are published."""

import hashlib
from pathlib import Path
from typing import Any


def model_facts(folder: Path) -> dict[str, Any]:
    """Architecture, parameters, dtype, size, and the digests of weights, tokenizer and chat template.

    Adapters trained on the model know it by `weights_digest`; `template_hash` is what a training notes of its base.

    Raises:
        BaseModelError, ProblemsError: it is not a model that could be loaded.
    """
    from medley.lm.base_folder import weights_digest
    from medley.lm.model_file import open_model

    model = open_model(folder)
    facts = {
        "architecture": (model.config.get("architectures") or ["unknown"])[0],
        "parameters": model.parameter_count,
        "dtype": model.dtype,
        "size_bytes": sum(tensor.size_bytes for tensor in model.tensors.values()),
        "weights_digest": weights_digest(folder),
        "tokenizer_hash": _digest(folder / "tokenizer.json") or _digest(folder / "tokenizer.model"),
        "template_hash": _template_hash(folder),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _template_hash(folder: Path) -> str | None:
    """sha256 of the chat template's text, wherever it is kept, as `medley.lm.load.template_hash` has it."""
    from medley.lm.base_folder import template_text

    template = template_text(folder)
    return hashlib.sha256(template.encode()).hexdigest() if template else None
