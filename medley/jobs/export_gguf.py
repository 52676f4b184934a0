"""An adapter by name, written as a GGUF file; its base is found too, because its configuration says how rows go."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from medley.errors import ProblemsError
from medley.events import Emit, ignore_event
from medley.jobs.artifacts import find_adapter
from medley.jobs.base_names import identity_of
from medley.jobs.bases import base_folder, base_of
from medley.jobs.shadows import warnings_of

if TYPE_CHECKING:
    from hub import Registry


def write_adapter_gguf(registry: "Registry", ref: str, out: Path, emit: Emit = ignore_event) -> Path:
    """The new GGUF file with the adapter, for llama.cpp.

    Args:
        ref: a path, a registry name or a Hub id of a LoRA adapter.
        out: must not exist; its folder must.

    Raises:
        ProblemsError: everything about the adapter or its base that llama.cpp could not follow.
        ConflictError, StorageError: the file exists, or cannot be written.
        BaseModelError, HubError, …: the base cannot be had.
    """
    from medley.lm.adapter_file import open_adapter
    from medley.lm.adapter_gguf import gguf_problems, write_gguf
    from merging.checks.delta_check import delta_problems

    found = find_adapter(registry, ref)
    for warning in warnings_of([found]):
        emit("warning", text=warning)
    adapter, base = open_adapter(found.folder), base_of(registry, found)
    problems = list(delta_problems(found.label, adapter))
    config = json.loads((base_folder(registry, base, emit) / "config.json").read_text(encoding="utf-8"))
    problems = problems or gguf_problems(found.label, adapter, config)
    if problems:
        raise ProblemsError("the export", problems)
    write_gguf(adapter, config, out.absolute(), name=found.label, base_id=identity_of(base)[0])
    return out
