"""The rewards of GRPO as TRL calls them: functions of the text, and reward adapters on the policy's own base.

A reward adapter needs no second model: with the policy's adapter switched off, its LoRA factors are added to the layers
of the same base, and its head reads the last token.

Legend: N answers, T tokens, H hidden size.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import safe_open
from torch import nn

from medley.errors import IncompatibleError
from medley.lm.adapter_file import WEIGHTS_FILE
from medley.lm.prompts import prompt_ids
from trainers.ppo_reward import SCORE_KEY
from trainers.ppo_voices import open_plain_lora, read_voice
from trainers.reward_words import RewardTerm, names_of, parse_rewards
from trainers.rewards import REWARDS

SCORE_BATCH = 8
Messages = Sequence[Mapping[str, str]]
RewardFunction = Callable[..., list[float]]  # called by TRL with prompts, completions, completion_ids and more, by name


class BorrowedReward:
    """A reward adapter that scores on the base of a policy.

    Args:
        folder: the reward adapter.
        policy: the model that is trained; its layers get hooks that do nothing but while a score is made.

    Raises:
        IncompatibleError: it is no plain LoRA with a score head, or one of another base.
    """

    def __init__(self, folder: Path, policy: PeftModel) -> None:
        adapter = open_plain_lora(folder)
        if SCORE_KEY not in adapter.tensors:
            raise IncompatibleError(
                f"{folder.name} is no reward adapter: it has no score head. Train one with `medley train reward`."
            )
        self._policy, self._lm, self._is_scoring = policy, policy.get_base_model(), False
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
            self._head_1H = file.get_tensor(SCORE_KEY).float().to(policy.device)
        hidden_size = self._lm.get_input_embeddings().weight.shape[-1]
        if self._head_1H.shape != (1, hidden_size):
            raise IncompatibleError(
                f"The score head of {folder.name} has shape {tuple(self._head_1H.shape)}; "
                f"this base needs {(1, hidden_size)}."
            )
        for name, factors in read_voice(adapter, policy.device, self._lm.dtype).items():
            self._layer(name).register_forward_hook(self._hook(factors.a, factors.b, factors.scale))

    def _layer(self, name: str) -> nn.Module:
        try:
            return self._lm.get_submodule(name)
        except AttributeError:
            raise IncompatibleError(f"An adapter changes {name}, which this base does not have.") from None

    def _hook(self, a: torch.Tensor, b: torch.Tensor, scale: float) -> Any:
        def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            return output + scale * (inputs[0].to(a.dtype) @ a.t() @ b.t()).to(output) if self._is_scoring else output

        return add

    @torch.no_grad()
    def score(self, texts: Sequence[list[int]], pad_id: int) -> list[float]:
        """The head's number at the last token of each text, in order.

        Args:
            texts: token ids of prompt and answer.
        """
        scores: list[float] = []
        was_training, self._is_scoring = self._policy.training, True
        self._policy.eval()
        try:
            with self._policy.disable_adapter():
                for start in range(0, len(texts), SCORE_BATCH):
                    scores += self._score_batch(texts[start : start + SCORE_BATCH], pad_id)
        finally:
            self._is_scoring = False
            self._policy.train(was_training)
        return scores

    def _score_batch(self, texts: Sequence[list[int]], pad_id: int) -> list[float]:
        longest = max(map(len, texts))
        ids_NT = torch.tensor([ids + [pad_id] * (longest - len(ids)) for ids in texts], device=self._policy.device)
        mask_NT = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in texts])
        trunk = self._lm.get_decoder()
        hidden_NTH = trunk(input_ids=ids_NT, attention_mask=mask_NT.to(ids_NT), use_cache=False).last_hidden_state
        last_N = torch.tensor([len(ids) - 1 for ids in texts], device=ids_NT.device)
        hidden_NH = hidden_NTH[torch.arange(len(texts), device=ids_NT.device), last_N]
        return (hidden_NH.float() @ self._head_1H[0]).tolist()


def reward_functions(
    words: Sequence[str],
    adapters: Mapping[str, Path],
    policy: PeftModel,
    tokenizer: Any,
    labels: Mapping[str, str] | None = None,
) -> tuple[list[RewardFunction], list[float]]:
    """What TRL calls for each term of the reward, and the weight of each; TRL keeps what they earn by their names.

    Args:
        words: as the options write them.
        adapters: the reward adapters among them: the reference as it stands there -> its folder.
        labels: the same references -> what people call them.

    Raises:
        ParameterError: as `parse_rewards`.
        IncompatibleError: as `BorrowedReward`.
    """
    terms = parse_rewards(words)
    functions = [
        _of_adapter(term, BorrowedReward(adapters[term.name], policy), tokenizer) if term.is_adapter else _of_text(term)
        for term in terms
    ]
    for function, name in zip(functions, names_of(terms, labels or {}), strict=True):
        function.__name__ = name
    return functions, [term.weight for term in terms]


def _of_text(term: RewardTerm) -> RewardFunction:
    score = REWARDS[term.name].make(term.argument)

    def reward(prompts: Sequence[Messages], completions: Sequence[Messages], **others: Any) -> list[float]:
        return score([prompt[-1]["content"] for prompt in prompts], [each[-1]["content"] for each in completions])

    return reward


def _of_adapter(term: RewardTerm, model: BorrowedReward, tokenizer: Any) -> RewardFunction:
    pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def reward(prompts: Sequence[Messages], completion_ids: Sequence[list[int]], **others: Any) -> list[float]:
        texts = [[*prompt_ids(tokenizer, prompt), *ids] for prompt, ids in zip(prompts, completion_ids, strict=True)]
        return model.score(texts, pad_id)

    return reward
