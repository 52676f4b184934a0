"""Adapters that are no sum of deltas (DoRA, IA3, soft prompts, LLaMA-Adapter, …), run by peft one at a time.

Such an adapter answers alone, at weight 1, on the same base in memory: peft changes the base's layers, the answer is
written, and the layers are put back as they were. That nothing of the base was touched is checked each time.
"""

import copy
import inspect
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import nn

from medley.errors import IncompatibleError
from medley.lm.adapter_file import WEIGHTS_FILE, AdapterFile
from medley.lm.ia3_types import keep_number_types
from medley.lm.importing import import_quickly
from medley.lm.quiet import quiet_libraries

if TYPE_CHECKING:
    from peft import PeftModelForCausalLM

NAME = "default"


class AloneAdapter:
    """An adapter in memory that runs alone; it is attached once on the way, so that what does not fit is told now.

    Args:
        adapter: an opened adapter that `fit.check_alone` accepts.
        model: the base, which is left as it was.

    Raises:
        IncompatibleError: it belongs to another base, or holds what peft would not load.
    """

    def __init__(self, adapter: AdapterFile, model: nn.Module) -> None:
        with import_quickly():
            from peft import PeftConfig

        self._label = f"The adapter in {adapter.folder}"
        self._config = PeftConfig.from_pretrained(str(adapter.folder))
        self._config.inference_mode = True
        self._tensors = load_file(adapter.folder / WEIGHTS_FILE)
        with self.attached(model):
            pass

    @property
    def virtual_tokens(self) -> int:
        """Tokens that it puts in front of every prompt."""
        return getattr(self._config, "num_virtual_tokens", None) or 0

    @contextmanager
    def attached(self, model: nn.Module) -> "Iterator[PeftModelForCausalLM]":
        """The base with this adapter; afterwards the base is what it was, layer by layer and bit by bit."""
        tree = _Tree(model)
        try:
            yield self._wrap(model)
        finally:
            tree.restore()

    def _wrap(self, model: nn.Module) -> "PeftModelForCausalLM":
        from peft import PeftModelForCausalLM, get_peft_model_state_dict, set_peft_model_state_dict

        with quiet_libraries(), torch.random.fork_rng(devices=[]):  # peft draws first values that are replaced below
            try:
                wrapped = PeftModelForCausalLM(model, copy.deepcopy(self._config), NAME)
            except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
                reason = str(error).strip().splitlines() or [type(error).__name__]
                raise IncompatibleError(f"{self._label} does not fit this base: {reason[0].rstrip('.')}.") from error
            self._check_tensors(get_peft_model_state_dict(wrapped, adapter_name=NAME, save_embedding_layers=False))
            set_peft_model_state_dict(wrapped, dict(self._tensors), adapter_name=NAME)
        keep_number_types(wrapped)
        return wrapped.requires_grad_(False).eval()

    def _check_tensors(self, expected: dict[str, torch.Tensor]) -> None:
        """The file must hold exactly what peft has places for: anything else would be lost, or land in the base."""
        odd = sorted(set(expected) ^ set(self._tensors))
        if odd:
            where = "peft has no place for it" if odd[0] in self._tensors else "the file does not have it"
            raise IncompatibleError(f"{self._label} does not fit this base: of '{odd[0]}', {where}.")
        for name, tensor in expected.items():
            found = self._tensors[name].shape
            if tensor.shape != found:
                raise IncompatibleError(
                    f"{self._label} was made for another base: '{name}' is {_size(found)}, "
                    f"and {_size(tensor.shape)} on this one."
                )


def _size(shape: torch.Size) -> str:
    return "x".join(map(str, shape))


class _Tree:
    """The modules of a model as they are: which parts, hooks and attributes each has, and that no weight is written."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = [(module, dict(vars(module)), _tables_of(module)) for module in model.modules()]
        self._weights = [(each, each._version, each.data_ptr()) for each in (*model.parameters(), *model.buffers())]

    def restore(self) -> None:
        """Give every module its attributes and parts back."""
        for module, attributes, tables in self._modules:
            vars(module).clear()
            vars(module).update(attributes)
            for name, table in tables.items():
                attributes[name].clear()
                attributes[name].update(table)
        assert all(each._version == version and each.data_ptr() == place for each, version, place in self._weights), (
            "an adapter that ran alone has written into the base"
        )


def _tables_of(module: nn.Module) -> dict[str, dict[Any, Any]]:
    return {name: dict(value) for name, value in vars(module).items() if type(value) in (dict, OrderedDict)}


class AloneBatch:
    """One conversation answered by one such adapter; the same face as `batch.Batch` has for many.

    Args:
        wrapped: what `AloneAdapter.attached` gives.
        prompt: token ids, not empty.
    """

    def __init__(self, wrapped: "PeftModelForCausalLM", prompt: Sequence[int]) -> None:
        self._wrapped, self._model = wrapped, wrapped.get_base_model()
        self._ids = torch.tensor([list(prompt)], device=self._model.device)
        self._cache: Any = None
        accepted = inspect.signature(type(self._model).forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}

    def seen_tokens(self, vocabulary: int) -> torch.Tensor:
        """(1, V), True at every token of the prompt."""
        seen = torch.zeros(1, vocabulary, dtype=torch.bool, device=self._ids.device)
        return seen.index_fill_(1, self._ids[0], True)

    @torch.no_grad()
    def read_prompts(self) -> torch.Tensor:
        """Logits of the first new token, (1, V). What stands in front of the prompt goes into the cache with it."""
        output = self._wrapped(input_ids=self._ids, use_cache=True, **self._last_only)
        return self._keep(output)

    @torch.no_grad()
    def step(self, tokens_N: torch.Tensor) -> torch.Tensor:
        """Append a token: logits of the next, (1, V)."""
        ids = tokens_N[:, None].to(self._ids.device)
        return self._keep(self._model(input_ids=ids, past_key_values=self._cache, use_cache=True))

    def _keep(self, output: Any) -> torch.Tensor:
        self._cache = output.past_key_values
        return output.logits[:, -1]
