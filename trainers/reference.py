"""The frozen reference of a policy: the adapter that training started from, or the base where there was none.

TRL copies the trained adapter "default" into a frozen one named "ref" when it is given a model with an adapter. That
copy is the reference with a start; without one it is dropped, and the reference is the base with the adapter switched
off: the same function, one adapter less.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer

from medley.errors import ParameterError
from trainers.adapter import attach_adapter
from trainers.options import AdapterOptions

POLICY, REFERENCE = "default", "ref"  # TRL knows them by these names


def attach_policy(model: Any, options: AdapterOptions, init_adapter: Path | None) -> PeftModel:
    """The base with the adapter to train, as `attach_adapter` gives it.

    Raises:
        ParameterError: the adapter touches the output matrix, which TRL multiplies with by itself.
        AdapterFormatError: `init_adapter` is not a readable adapter.
    """
    policy = attach_adapter(model, options, init_adapter)
    if isinstance(policy.get_output_embeddings(), BaseTunerLayer):
        raise ParameterError(
            "The adapter touches lm_head, whose adapter would not be trained here. "
            + ("Choose other targets." if init_adapter is None else "Start from an adapter without it.")
        )
    return policy


def settle_reference(model: PeftModel, *, has_start: bool, drops_inputs: bool = True) -> None:
    """Make TRL's copy the exact reference, or drop it where the base is the reference; turn the dropout on again.

    TRL's copy on a 4-bit base need not have the policy's number type, which would leave the two apart from the first
    step on; and TRL sets every dropout to 0, the policy's as well.

    Args:
        has_start: whether training started from an adapter.
        drops_inputs: False leaves the policy's dropout at 0, also that of an adapter which was trained with some.
    """
    if REFERENCE in model.peft_config and not has_start:
        model.delete_adapter(REFERENCE)
    elif REFERENCE in model.peft_config:
        weights = dict(model.named_parameters())
        for name, weight in weights.items():
            if f".{POLICY}." in name:
                weights[name.replace(f".{POLICY}.", f".{REFERENCE}.")].data = weight.data.clone()
    dropout = getattr(model.peft_config[POLICY], "lora_dropout", 0.0) if drops_inputs else 0.0
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and name.endswith(f"lora_dropout.{POLICY}"):
            module.p = dropout


@contextmanager
def as_reference(model: PeftModel) -> Iterator[None]:
    """Within it, the model answers as the reference does."""
    if REFERENCE not in model.peft_config:
        with model.disable_adapter():
            yield
        return
    model.set_adapter(REFERENCE)
    try:
        yield
    finally:
        model.set_adapter(POLICY)


def drop_reference(model: PeftModel) -> None:
    """Leave the trained adapter alone on the model, as it is to be saved."""
    if REFERENCE in model.peft_config:
        model.delete_adapter(REFERENCE)
