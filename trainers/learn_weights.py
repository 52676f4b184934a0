"""The weights of a merge from data: learned by gradient, or searched for (search_weights.py); and what they are worth.

No adapter changes and nothing is merged here: out come numbers, which a recipe takes as weights of `task_arithmetic`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medley.corpus import read_rows
from medley.corpus.tokens import Encoded, encode_all
from medley.lm.adapter_file import open_adapter
from medley.lm.adapter_tensors import iterate_scaled_factors
from medley.lm.fit import check_fit
from medley.lm.load import LoadedBase, load_base
from trainers.sft import IGNORED, labels_of
from trainers.weight_options import PLAIN_METRIC, WeightOptions, plain_weights
from trainers.weighted_deltas import WeightedDeltas, layer_of
from trainers.work import TrainWork

Batch = tuple[Tensor, Tensor, Tensor]  # ids, attention mask, labels; each (rows, tokens)


@dataclass(frozen=True)
class Weighting:
    """One way to weigh the adapters, measured on the eval split.

    Attributes:
        name: "learned", or which plain one it is.
        weights: per adapter, one number, or one per layer.
        loss: nats per answer token.
        score: mean reward of the answers, where a reward was searched for.
    """

    name: str
    weights: tuple[tuple[float, ...], ...]
    loss: float
    score: float | None = None


@dataclass(frozen=True)
class LearnedWeights:
    """The learned weights and the plain ones beside them.

    Attributes:
        learned: what came out.
        plain: task arithmetic with 1/n each, with 1 each, and the base alone.
        metric: "loss", or the reward that was searched for.
    """

    learned: Weighting
    plain: tuple[Weighting, ...]
    metric: str

    @property
    def best_plain(self) -> Weighting:
        return min(self.plain, key=self.cost)

    @property
    def is_better(self) -> bool:
        """Whether the learned weights beat every plain weighting on the eval split."""
        return self.cost(self.learned) < self.cost(self.best_plain)

    def cost(self, weighting: Weighting) -> float:
        return weighting.loss if weighting.score is None else -weighting.score


def learn_weights(options: WeightOptions, adapters: Mapping[str, Path], work: TrainWork) -> LearnedWeights:
    """Weights for these adapters, learned on the dataset's train split and measured on its eval split.

    Args:
        options: how.
        adapters: name -> folder, all of the base.
        work: base, data, events and stop; its `out_dir` is not used.

    Raises:
        DatasetError: no row has anything to learn from.
        IncompatibleError: an adapter does not fit the base.
    """
    work.emit("progress", step=0, total=0, text="Loading the base model")
    base = load_base(work.base_dir, device=options.device)
    base.model.eval()
    opened = {name: open_adapter(folder) for name, folder in adapters.items()}
    for each in opened.values():
        check_fit(each, base.model)
    factors = [dict(iterate_scaled_factors(each)) for each in opened.values()]
    train, measured = (_rows(work, split, options, base) for split in ("train", "eval"))
    if options.how == "search":
        from trainers.search_weights import search_weights

        return search_weights(options, base, factors, train, measured, work)
    layers = 1 + max(layer_of(name) for each in factors for name in each) if options.is_by_layer else 1
    deltas = WeightedDeltas(base.model, factors, layers=layers)
    try:
        plain = plain_weightings(lambda: mean_loss(base, measured[1], options), deltas)
        _descend(options, base, deltas, train[1], work)
        return LearnedWeights(weighting("learned", deltas, mean_loss(base, measured[1], options)), plain, PLAIN_METRIC)
    finally:
        deltas.detach_hooks()


def _rows(
    work: TrainWork, split: str, options: WeightOptions, base: LoadedBase
) -> tuple[list[dict[str, Any]], list[Encoded]]:
    """The rows of a split and their tokens."""
    rows = read_rows(work.data_dir, split)[: options.max_rows if split == "train" else options.max_eval_rows]
    encoded, report = encode_all(rows, base.tokenizer, max_length=options.max_length)
    for warning in report.warnings():
        work.emit("warning", text=f"{split} split: {warning}")
    return rows, encoded


def plain_weightings(measure: Callable[[], float], deltas: WeightedDeltas) -> tuple[Weighting, ...]:
    """Task arithmetic as it comes, measured: the average, the sum, and no adapter at all."""
    count = deltas.weights_GN.shape[1]
    found = []
    for name, weight in plain_weights(count):
        deltas.set([weight] * count)
        found.append(Weighting(name, ((weight,),) * count, measure()))
    deltas.set([1 / count] * count)
    return tuple(found)


def weighting(name: str, deltas: WeightedDeltas, loss: float) -> Weighting:
    return Weighting(name, tuple(map(tuple, deltas.values())), loss)


def _descend(
    options: WeightOptions, base: LoadedBase, deltas: WeightedDeltas, rows: Sequence[Encoded], work: TrainWork
) -> None:
    optimizer = torch.optim.Adam([deltas.weights_GN], lr=options.learning_rate)
    generator = torch.Generator().manual_seed(options.seed)
    order: list[int] = []
    for step in range(1, options.steps + 1):
        if work.should_stop():
            return
        while len(order) < options.batch_size:
            order += torch.randperm(len(rows), generator=generator).tolist()
        chosen, order = order[: options.batch_size], order[options.batch_size :]
        total, count = summed_loss(base, [rows[index] for index in chosen])
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
        work.emit("metric", step=step, loss=float(total.detach()) / count)
        work.emit("progress", step=step, total=options.steps, text="Learning the weights")


@torch.no_grad()
def mean_loss(base: LoadedBase, rows: Sequence[Encoded], options: WeightOptions) -> float:
    """Cross-entropy in nats per answer token."""
    total, count = 0.0, 0
    for start in range(0, len(rows), options.batch_size):
        part, tokens = summed_loss(base, rows[start : start + options.batch_size])
        total, count = total + float(part), count + tokens
    return total / count


def summed_loss(base: LoadedBase, rows: Sequence[Encoded]) -> tuple[Tensor, int]:
    """(summed cross-entropy of the answers' tokens, how many there are)."""
    ids, mask, labels = _padded(rows, base)
    logits = base.model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    wanted = labels[:, 1:]
    is_answer = wanted != IGNORED
    loss = F.cross_entropy(logits[is_answer].float(), wanted[is_answer], reduction="sum")
    return loss, int(is_answer.sum())


def _padded(rows: Sequence[Encoded], base: LoadedBase) -> Batch:
    longest = max(len(row.input_ids) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for place, row in enumerate(rows):
        size = len(row.input_ids)
        ids[place, :size] = torch.tensor(row.input_ids)
        labels[place, :size] = torch.tensor(labels_of(row))
        mask[place, :size] = 1
    device = base.model.device
    return ids.to(device), mask.to(device), labels.to(device)
