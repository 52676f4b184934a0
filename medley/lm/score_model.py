"""A reward model ready to score: a base, a reward adapter on it, and batches of token ids to numbers.

    model = ScoreModel.open(base_folder, adapter_folder)
    model.score([ids_of_one_answer, ids_of_another])

Here token ids go in; prompts and answers become ids in `medley.corpus.tokens`, as they did when it was trained.
Legend: N texts, T tokens.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from medley.errors import IncompatibleError
from medley.events import Emit, ignore_event
from medley.lm.adapter_file import open_adapter
from medley.lm.fit import check_shapes
from medley.lm.importing import import_quickly
from medley.lm.load import LoadedBase, load_score_base
from medley.lm.quiet import quiet_libraries

SCORE_BATCH = 8


class ScoreModel:
    """One base and one reward adapter.

    Args:
        base: from `load_score_base`; its layers belong to this object from now on.
        adapter_dir: the reward adapter.

    Raises:
        AdapterFormatError, ProblemsError: the adapter cannot be read.
        IncompatibleError: it is no reward model, or one of another base.
    """

    def __init__(self, base: LoadedBase, adapter_dir: Path) -> None:
        with import_quickly():
            from peft import PeftModel

        adapter = open_adapter(adapter_dir)
        if not adapter.is_reward_model:
            raise IncompatibleError(
                f"The adapter in {adapter_dir} is not a reward model: it has no score head. "
                "Train one with: medley train reward"
            )
        check_shapes(adapter, base.model)
        self.base = base
        with quiet_libraries():
            self.model = PeftModel.from_pretrained(base.model, str(adapter_dir)).eval()

    @classmethod
    def open(
        cls, base_dir: Path, adapter_dir: Path, *, quant: str | None = None, device: str | None = None
    ) -> "ScoreModel":
        """Base and adapter from their folders; see `load_base` for the arguments and its errors."""
        return cls(load_score_base(base_dir, quant=quant, device=device), adapter_dir)

    @property
    def longest(self) -> int | None:
        """Tokens the base can read, or None where it does not say."""
        return getattr(self.base.model.config.get_text_config(), "max_position_embeddings", None)

    def score(
        self, rows: Sequence[Sequence[int]], *, batch_size: int = SCORE_BATCH, emit: Emit = ignore_event
    ) -> list[float]:
        """One number a text, in their order; higher is better, and only differences have a meaning.

        Args:
            rows: token ids of whole texts, up to the token that ends the answer; none empty.
            batch_size: texts in one forward pass.
            emit: told of progress.
        """
        return score_rows(self.model, rows, self.base.tokenizer.pad_token_id, batch_size=batch_size, emit=emit)


@torch.no_grad()
def score_rows(
    model: Any, rows: Sequence[Sequence[int]], pad_id: int, *, batch_size: int, emit: Emit = ignore_event
) -> list[float]:
    """The score of each row by a model as it stands, in the rows' order; rows of similar length share a batch."""
    was_training = model.training
    model.eval()
    scores = [0.0] * len(rows)
    order = sorted(range(len(rows)), key=lambda index: -len(rows[index]))  # the largest batch first: it fits, or not
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        longest = len(rows[part[0]])
        ids_NT = torch.tensor([[*rows[index], *[pad_id] * (longest - len(rows[index]))] for index in part])
        is_text_NT = torch.tensor([[1] * len(rows[i]) + [0] * (longest - len(rows[i])) for i in part])
        inputs = {"input_ids": ids_NT.to(model.device), "attention_mask": is_text_NT.to(model.device)}
        for index, score in zip(part, model(**inputs, use_cache=False).logits[:, 0].tolist(), strict=True):
            scores[index] = score
        emit("progress", step=start + len(part), total=len(rows), text="Scoring")
    model.train(was_training)
    return scores
