"""How good one model is on every held-out item of quality_tasks.py, and how it predicts general text.

A merge is measured as it would be shipped: its deltas are added to the base in float32 and the sum is cast once.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.quality_tasks import STYLE_TASKS, Item, chosen, passes
from medley.lm.load import LoadedBase
from medley.lm.prompts import encode_text, prompt_ids

BATCH_TOKENS = 2048
MAX_NEW_TOKENS = 48
STYLE_BATCH = 20


@dataclass(frozen=True)
class Measured:
    """One model's results.

    Attributes:
        correct: 1 or 0 per held-out item, in the items' order.
        general_loss: nats per token on general text.
    """

    correct: list[int]
    general_loss: float


@contextmanager
def folded(base: LoadedBase, deltas: Mapping[str, Tensor | tuple[Tensor, Tensor]]) -> Iterator[None]:
    """The base with deltas added to its weights; afterwards the very weights that it had.

    Args:
        deltas: module name to a dense delta, or to (B, A) whose product it is.
    """
    modules = dict(base.model.named_modules())
    kept: dict[str, Tensor] = {}
    try:
        for name, delta in deltas.items():
            weight = modules[name].weight
            kept[name] = weight.data
            dense = delta[0].float() @ delta[1].float() if isinstance(delta, tuple) else delta.float()
            weight.data = (weight.data.float() + dense).to(weight.dtype)
        yield
    finally:
        for name, weight in kept.items():
            modules[name].weight.data = weight


def adapter_deltas(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Every module of an adapter as (scale * B, A)."""
    from medley.lm.adapter_file import open_adapter
    from medley.lm.adapter_tensors import iterate_scaled_factors

    return dict(iterate_scaled_factors(open_adapter(folder)))


def model_deltas(folder: Path, base: LoadedBase) -> dict[str, Tensor]:
    """The difference of a full model to the base, for the weights of linear layers."""
    from safetensors import safe_open

    modules = {name: each for name, each in base.model.named_modules() if isinstance(each, torch.nn.Linear)}
    deltas: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - a safetensors file is no mapping
                name = key.removesuffix(".weight")
                if name in modules and name != "lm_head":
                    deltas[name] = file.get_tensor(key).float() - modules[name].weight.data.float()
    return deltas


def measure(base: LoadedBase, items: Sequence[Item], texts: Sequence[str]) -> Measured:
    """The model as it is now, on every item and text."""
    with torch.inference_mode():
        choice_results = iter(_choices(base, [item for item in items if item.choices]))
        prompts = list(dict.fromkeys(item.prompt for item in items if item.task in STYLE_TASKS))
        answers = dict(zip(prompts, _answers(base, prompts), strict=True))
        correct = [
            next(choice_results) if item.choices else int(passes(item.task, answers[item.prompt])) for item in items
        ]
        return Measured(correct, _general_loss(base, texts))


def _choices(base: LoadedBase, items: Sequence[Item]) -> list[int]:
    """1 where the right choice is the likeliest per character."""
    rows = [choice_row(base, item) for item in items]
    results = [0] * len(rows)
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))  # rows of like length: little padding
    while order:
        size = max(1, BATCH_TOKENS // len(rows[order[-1]].ids))
        batch, order = order[-size:], order[:-size]
        scores = _choice_logps(base, [rows[index] for index in batch])
        for index, each in zip(batch, scores, strict=True):
            results[index] = int(chosen(each, items[index].choices) == items[index].gold)
    return results


@dataclass(frozen=True)
class ChoiceRow:
    """A question with all its choices in one row: each choice sees the question and itself, not the others.

    Attributes:
        ids: the question's tokens, then those of each choice.
        segments: 0 for the question, 1, 2, … for the choices; one per token.
    """

    ids: list[int]
    segments: list[int]


def choice_row(base: LoadedBase, item: Item) -> ChoiceRow:
    parts = [prompt_ids(base.tokenizer, [{"role": "user", "content": item.prompt}])]
    parts += [encode_text(base.tokenizer, choice) for choice in item.choices]
    segments = [index for index, part in enumerate(parts) for _ in part]
    return ChoiceRow([token for part in parts for token in part], segments)


def _choice_logps(base: LoadedBase, rows: Sequence[ChoiceRow]) -> list[list[float]]:
    """Σ log p of each choice of each row."""
    longest = max(len(row.ids) for row in rows)
    ids_NT = torch.zeros(len(rows), longest, dtype=torch.long)
    segments_NT = torch.full((len(rows), longest), -1)
    for place, row in enumerate(rows):
        ids_NT[place, : len(row.ids)] = torch.tensor(row.ids)
        segments_NT[place, : len(row.ids)] = torch.tensor(row.segments)
    positions_NT, previous_NT = positions_of(segments_NT)
    is_seen_NTT = (segments_NT[:, None, :] == segments_NT[:, :, None]) | (segments_NT[:, None, :] == 0)
    is_seen_NTT &= torch.ones(longest, longest, dtype=torch.bool).tril()
    hidden_NTC = base.model.model(
        input_ids=ids_NT, position_ids=positions_NT, attention_mask=is_seen_NTT[:, None]
    ).last_hidden_state
    is_answer_NT = segments_NT > 0
    row_K, place_K = is_answer_NT.nonzero(as_tuple=True)
    logps_KV = base.model.lm_head(hidden_NTC[row_K, previous_NT[row_K, place_K]]).float().log_softmax(-1)
    logps_NT = torch.zeros(ids_NT.shape).index_put(
        (row_K, place_K), logps_KV.gather(1, ids_NT[row_K, place_K][:, None])[:, 0]
    )
    return [
        [float(logps_NT[place][segments_NT[place] == choice].sum()) for choice in range(1, max(row.segments) + 1)]
        for place, row in enumerate(rows)
    ]


def positions_of(segments_NT: Tensor) -> tuple[Tensor, Tensor]:
    """(position of each token for the model, place of the token that comes before it in what it sees)."""
    places_T = torch.arange(segments_NT.shape[1])
    length_N1 = (segments_NT == 0).sum(1, keepdim=True)
    is_first_NT = torch.ones_like(segments_NT, dtype=torch.bool)
    is_first_NT[:, 1:] = segments_NT[:, 1:] != segments_NT[:, :-1]
    start_NT = torch.where(is_first_NT, places_T, 0).cummax(1).values
    inside_NT = places_T - start_NT
    positions_NT = torch.where(segments_NT == 0, places_T, length_N1 + inside_NT)
    previous_NT = torch.where(is_first_NT, length_N1 - 1, places_T - 1)
    return positions_NT, previous_NT


def _answers(base: LoadedBase, prompts: Sequence[str]) -> list[str]:
    """Greedy answers, through the engine as everywhere in Medley."""
    from medley.lm.engine import Engine, Pane
    from medley.lm.sampling import Sampling

    engine = Engine(base)
    sampling = Sampling(temperature=0.0, max_new_tokens=MAX_NEW_TOKENS)
    answers: list[str] = []
    for start in range(0, len(prompts), STYLE_BATCH):
        panes = [Pane([{"role": "user", "content": each}]) for each in prompts[start : start + STYLE_BATCH]]
        answers += [each.text for each in engine.generate(panes, sampling)]
    return answers


def _general_loss(base: LoadedBase, texts: Sequence[str]) -> float:
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([base.tokenizer(text, add_special_tokens=False)["input_ids"]])
        logits = base.model(input_ids=ids).logits[0, :-1].float()
        total += float(F.cross_entropy(logits, ids[0, 1:], reduction="sum"))
        count += ids.shape[1] - 1
    return total / count


def as_mapping(measured: Measured) -> dict[str, Any]:
    return {"correct": measured.correct, "general_loss": measured.general_loss}
