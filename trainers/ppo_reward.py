"""The reward of a batch of answers: a weighted sum of functions of the text and of reward adapters on the same base."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open

from medley.errors import IncompatibleError
from medley.lm.adapter_file import WEIGHTS_FILE
from trainers.ppo_passes import hidden_at_end, score_head
from trainers.ppo_rollout import Rollout
from trainers.ppo_voices import Factors, SharedBase, open_plain_lora, read_voice
from trainers.reward_words import RewardTerm, parse_rewards
from trainers.rewards import REWARDS

SCORE_KEY = "base_model.model.score.weight"


class RewardModel:
    """A reward adapter: a voice of the shared base with a scalar head.

    Args:
        folder: the adapter.
        base: gets the voice.
        rows_at_once: answers in one forward pass; all of a batch when None.

    Attributes:
        voice: its factors, frozen.
        head_1H: its score head in float32.

    Raises:
        IncompatibleError: not a plain LoRA with a score head, or of another base's size.
    """

    def __init__(self, folder: Path, base: SharedBase, rows_at_once: int | None = None) -> None:
        adapter = open_plain_lora(folder)
        if SCORE_KEY not in adapter.tensors:
            raise IncompatibleError(
                f"{folder.name} is no reward adapter: it has no score head. Train one with `medley train reward`."
            )
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
            self.head_1H = file.get_tensor(SCORE_KEY).float().to(base.device)
        if self.head_1H.shape != (1, base.hidden_size):
            raise IncompatibleError(
                f"The score head of {folder.name} has shape {tuple(self.head_1H.shape)}; "
                f"this base needs {(1, base.hidden_size)}."
            )
        self.voice: dict[str, Factors] = read_voice(adapter, base.device, base.lm.dtype)
        base.make_room(self.voice)
        self._base, self._rows_at_once = base, rows_at_once

    @torch.no_grad()
    def score(self, rollout: Rollout) -> torch.Tensor:
        """(N,) in float32: the head's number at each answer's last token, as a sequence classifier gives it."""
        rows = torch.arange(len(rollout.ids_NS), device=rollout.ids_NS.device)
        with self._base.speaking(self.voice):
            hidden = [
                hidden_at_end(self._base, rollout.rows(part)) for part in rows.split(self._rows_at_once or len(rows))
            ]
        return score_head(torch.cat(hidden), self.head_1H)


class Reward:
    """A weighted sum of rewards, ready to score.

    Args:
        words: as the options write them.
        models: the reward adapters among them, by reference.
    """

    def __init__(self, words: Sequence[str], models: Mapping[str, RewardModel]) -> None:
        self._terms = parse_rewards(words)
        self._models = models

    def score(self, rollout: Rollout) -> torch.Tensor:
        """(N,) in float32 on the rollout's device."""
        device = rollout.ids_NS.device
        return torch.stack([term.weight * self._score(term, rollout).to(device) for term in self._terms]).sum(dim=0)

    def _score(self, term: RewardTerm, rollout: Rollout) -> torch.Tensor:
        if term.is_adapter:
            return self._models[term.name].score(rollout)
        return torch.tensor(REWARDS[term.name].make(term.argument)(rollout.prompts, rollout.answers))


def load_reward_models(
    folders: Mapping[str, Path], base: SharedBase, rows_at_once: int | None
) -> dict[str, RewardModel]:
    """Every reward adapter that the options name, by its reference there."""
    return {reference: RewardModel(folder, base, rows_at_once) for reference, folder in folders.items()}
