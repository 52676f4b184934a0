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

    Attributes:
        voice: its factors, frozen.
        head_1H: its score head in float32.

    Raises:
        IncompatibleError: not a plain LoRA with a score head, or of another base's size.
    """

    def __init__(self, folder: Path, base: SharedBase) -> None:
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
        self._base = base

    @torch.no_grad()
    def score(self, rollout: Rollout) -> torch.Tensor:
        """(N,) in float32: the head's number at each answer's last token, as a sequence classifier gives it."""
        with self._base.speaking(self.voice):
            return score_head(hidden_at_end(self._base, rollout), self.head_1H)


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


def load_reward_models(folders: Mapping[str, Path], base: SharedBase) -> dict[str, RewardModel]:
    """Every reward adapter that the options name, by its reference there."""
    return {reference: RewardModel(folder, base) for reference, folder in folders.items()}
