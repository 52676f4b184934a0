"""What two models differ in besides their linear weights: kept whole, refused or ignored. No files here."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medley.errors import BaseModelError, IncompatibleError
from medley.lm.model_tensors import TensorReader
from merging.extracting.check import OUTPUT_LAYER, ExtractPreflight, is_embedding, listed
from merging.extracting.model_difference import difference

EMBEDDINGS_OF_TIED = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")


@dataclass(frozen=True)
class Whole:
    """The changed tensors that get no factors.

    Attributes:
        saved: tensor name to its value in the model; all tensors of a module that changed.
        ignored: tensor name to the norm of the change that is lost.
        warnings: what is worth knowing of either.
    """

    saved: Mapping[str, Tensor] = field(default_factory=dict)
    ignored: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def sort_whole(found: ExtractPreflight, before: TensorReader, after: TensorReader, others: str) -> Whole:
    """Look at every tensor that is no linear weight, and do with those that changed what `others` says.

    Raises:
        IncompatibleError: something changed that the adapter cannot hold, or nothing may be kept or lost.
        BaseModelError: a tensor is not finite.
    """
    changed = {name: size for name in found.others if (size := _change(name, before, after))}
    if not changed:
        return Whole()
    if others == "ignore":
        return Whole(ignored=changed, warnings=(_lost(changed),))
    if others == "refuse":
        raise IncompatibleError(
            f"Besides linear weights the model also changed {listed(changed)}. Choose others=save to keep "
            f"{'it' if len(changed) == 1 else 'them'} whole in the adapter, or others=ignore."
        )
    biases = [name for name in changed if name.rpartition(".")[0] in found.linears]
    if biases:
        raise IncompatibleError(
            f"The model also changed biases of linear layers ({listed(dict.fromkeys(biases))}), which an adapter "
            "cannot keep beside factors. Choose others=ignore to leave all that is no linear weight out."
        )
    modules = {name.rpartition(".")[0] for name in changed}
    saved = {name: after.read(name) for name in found.others if name.rpartition(".")[0] in modules}
    return Whole(saved={**saved, **_tied(found, saved)}, warnings=_notes(saved))


def _change(name: str, before: TensorReader, after: TensorReader) -> float:
    """‖after − before‖, 0 where they differ by no more than rounding."""
    delta = difference(before.read(name), after.read(name))
    size = 0.0 if delta is None else float(torch.linalg.vector_norm(delta))
    if not math.isfinite(size):
        raise BaseModelError(f"{name} holds NaN or Infinity in one of the models.")
    return size


def _tied(found: ExtractPreflight, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The output layer beside saved embeddings that it is tied to: peft keeps the two apart when it loads them."""
    embeddings = next((tensor for name, tensor in saved.items() if name.endswith(EMBEDDINGS_OF_TIED)), None)
    return {OUTPUT_LAYER: embeddings} if found.is_tied and embeddings is not None else {}


def _notes(saved: Mapping[str, Tensor]) -> tuple[str, ...]:
    embeddings = [name for name in saved if is_embedding(name)]
    notes = [f"The adapter holds {listed(saved)} whole; such an adapter cannot be merged with others."]
    if embeddings:
        size = sum(saved[name].numel() for name in embeddings)
        notes.append(f"{size:,} of its numbers are embeddings or the output layer.")
    return tuple(notes)


def _lost(changed: Mapping[str, float]) -> str:
    size = math.sqrt(math.fsum(value**2 for value in changed.values()))
    verb = "is" if len(changed) == 1 else "are"
    return f"{listed(changed)} changed too and {verb} left out: a change of norm {size:.3g}."
