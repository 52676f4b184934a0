"""A merge of full models on mergekit's library, with the settings that are safe: the one place that imports it.

Its command line is not used: it counts nothing, takes the configuration of whichever model a set happens to give
first, and only logs it when the tokenizer could not be copied. Planning, reading, arithmetic and writing are its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mergekit.architecture import get_architecture_info
from mergekit.common import ModelReference, set_config_value
from mergekit.config import MergeConfiguration
from mergekit.graph import Executor
from mergekit.io.tasks import LoaderCache
from mergekit.options import MergeOptions
from mergekit.plan import MergePlanner
from mergekit.tokenizer import TokenizerInfo
from safetensors import SafetensorError
from transformers import PretrainedConfig

from medley.errors import BaseModelError, StorageError
from medley.events import Emit
from merging.full_models.recipe import FullRecipe
from merging.recipes.reference import Reference

SHARD_BYTES = 1_000_000_000  # a shard stays in memory until it is written
OPTIONS = MergeOptions(
    device="cpu",
    lazy_unpickle=True,
    low_cpu_memory=True,
    out_shard_size=SHARD_BYTES,
    write_model_card=False,
    trust_remote_code=False,
    quiet=True,
)


class OrderedConfiguration(MergeConfiguration):
    """mergekit's configuration, whose models come in the order of the recipe instead of a set's."""

    def referenced_models(self) -> list[ModelReference]:
        found = super().referenced_models()
        order = {text: place for place, text in enumerate(self._texts())}
        return sorted(found, key=lambda model: order[str(model)])

    def _texts(self) -> list[str]:
        modules = list((self.modules or {}).values())
        parts = [self, *modules]
        listed = [each.model for part in parts for each in part.models or []]
        listed += [source.model for part in parts for each in part.slices or [] for source in each.sources]
        return list(dict.fromkeys(str(each) for each in (self.base_model, *listed) if each is not None))


def run_mergekit(recipe: FullRecipe, out_dir: Path, dtype: str, emit: Emit) -> None:
    """Write weights and config.json into `out_dir`, and the tokenizer where the recipe says how to make it.

    Args:
        recipe: its models are folders without adapters.
        dtype: of the result; the arithmetic is in float32.
        emit: told of each tensor that was written.

    Raises:
        BaseModelError: mergekit cannot do it.
        StorageError: the disk is full, or a file may not be so large.
    """
    body = {key: value for key, value in recipe.body.items() if key != "chat_template"}
    config = OrderedConfiguration.model_validate({**_plain(body), "dtype": "float32", "out_dtype": dtype})
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(recipe.seed)
            _run(config, out_dir, dtype, emit)
    except SafetensorError as error:  # of its inputs there are headers that were read before
        reason = str(error).rpartition("I/O error: ")[2]
        raise StorageError(f"The merged weights cannot be written: {reason}.") from error
    except (RuntimeError, ValueError, KeyError) as error:
        raise BaseModelError(f"mergekit cannot merge these models: {str(error) or type(error).__name__}") from error
    finally:
        LoaderCache.loaders.clear()  # it would keep files open, and take another model at the same path for this one


def _plain(value: Any) -> Any:
    """mergekit's plain values, with every model in the long form: a path may contain any character."""
    if isinstance(value, Reference):
        long_form = {"model": {"path": str(Path(value.model).absolute())}}
        architecture = value.override_architecture
        return long_form if architecture is None else {**long_form, "override_architecture": architecture}
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _run(config: MergeConfiguration, out_dir: Path, dtype: str, emit: Emit) -> None:
    architecture = get_architecture_info(config, OPTIONS)
    unknown = next((name for name in config.modules or {} if name not in architecture.modules), None)
    if unknown is not None:
        known = ", ".join(architecture.modules)
        raise BaseModelError(
            f"These models have no module '{unknown}'. Known: {known}. Without modules, all is merged."
        )
    LoaderCache().setup(options=OPTIONS)
    donor = config.referenced_models()[0]
    out_config = donor.config()
    _set_layers(out_config, config, architecture)
    targets = MergePlanner(config, architecture, options=OPTIONS, out_model_config=out_config).plan_to_disk(
        str(out_dir)
    )
    executor = Executor(targets=targets, math_device=OPTIONS.device, storage_device=OPTIONS.device)
    for step, (_, value) in enumerate(executor.run(quiet=True), start=1):
        if isinstance(value, TokenizerInfo):
            _set_vocabulary(out_config, config, architecture, len(value.tokenizer.get_vocab()))
            value.tokenizer.save_pretrained(out_dir)
        emit("progress", step=step, total=len(targets), text="Merging")
    out_config.dtype = dtype
    out_config.save_pretrained(out_dir)


def _set_layers(out_config: PretrainedConfig, config: MergeConfiguration, architecture: Any) -> None:
    """As many layers as the slices have, in each module that has slices."""
    for name, module in architecture.modules.items():
        slices = config.modules[name].slices if config.modules and name in config.modules else config.slices
        key = module.architecture.num_layers_config_key()
        if not slices or not key:
            continue
        taken = [layer for each in slices for layer in range(*each.sources[0].layer_range)]
        set_config_value(out_config, key, len(taken))
        types = getattr(out_config, "layer_types", None)
        if types:  # some architectures list the kind of each layer
            out_config.layer_types = [types[layer] for layer in taken]


def _set_vocabulary(out_config: PretrainedConfig, config: MergeConfiguration, architecture: Any, count: int) -> None:
    multiple = (config.tokenizer.pad_to_multiple_of if config.tokenizer else None) or 1
    padded = -(-count // multiple) * multiple
    set_config_value(out_config, architecture.vocab_size_config_key or "vocab_size", padded)
