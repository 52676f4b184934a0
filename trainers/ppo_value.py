"""The value function: what reward an answer will still bring, told before each of its tokens.

Either an adapter of its own on the shared base, or nothing but a head that reads the policy's last hidden state.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn

from trainers.ppo_passes import Spoken, hidden_before, score_head
from trainers.ppo_reward import RewardModel
from trainers.ppo_rollout import Rollout
from trainers.ppo_voices import Factors, SharedBase, Voice


class ValueFunction:
    """A scalar head, and the voice whose hidden states it reads.

    Attributes:
        voice: trainable factors of its own, or None where the head reads the policy.
        head_1H: float32, trainable.
    """

    def __init__(self, voice: dict[str, Factors] | None, head_1H: torch.Tensor) -> None:
        self.voice = voice
        self.head_1H = nn.Parameter(head_1H)

    @property
    def adapter_parameters(self) -> list[nn.Parameter]:
        return [part for each in (self.voice or {}).values() for part in (each.a, each.b)]

    def values(self, base: SharedBase, rollout: Rollout) -> torch.Tensor:
        """(N, R) in float32 by its own voice; with gradients where they are on."""
        with base.speaking(self.voice):
            return score_head(hidden_before(base, rollout), self.head_1H)

    def read(self, spoken: Spoken) -> torch.Tensor:
        """(N, R) in float32 from what the policy has just said."""
        return score_head(spoken.hidden_NRH, self.head_1H)


def make_value(kind: str, base: SharedBase, models: Sequence[RewardModel], generator: torch.Generator) -> ValueFunction:
    """A value function at its start.

    With a reward adapter, an "adapter" value starts from a copy of it, head included: Ouyang et al. 2022 (2203.02155),
    appendix C.4. Otherwise B = 0 and a head of zeros: every value is 0, so the first advantages are sums of rewards.

    Args:
        kind: "adapter" or "head".
        models: the optimised reward's adapters; the first is copied.
        generator: on the CPU, for fresh factors.
    """
    if kind == "head":
        return ValueFunction(None, torch.zeros(1, base.hidden_size, device=base.device))
    if not models:
        return ValueFunction(fresh_voice(base.policy, generator), torch.zeros(1, base.hidden_size, device=base.device))
    voice = {
        name: Factors(_parameter(each.a), _parameter(each.b), each.scale) for name, each in models[0].voice.items()
    }
    return ValueFunction(voice, models[0].head_1H.clone())


def fresh_voice(like: Voice, generator: torch.Generator) -> dict[str, Factors]:
    """Trainable factors of the same shapes as a LoRA starts with: A uniform as in peft, B = 0."""
    voice = {}
    for name, each in like.items():
        a = torch.empty(each.a.shape)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        voice[name] = Factors(_parameter(a.to(each.a.device)), _parameter(torch.zeros_like(each.b)), each.scale)
    return voice


def _parameter(tensor: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().to(torch.float32, copy=True))
