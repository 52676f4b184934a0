"""Learning from one batch: some passes over its answers in mini-batches, each one optimizer step.

Legend: N answers, R columns of the longest answer, M answers of a mini-batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from trainers.ppo_advantages import masked_mean
from trainers.ppo_experience import Experience
from trainers.ppo_losses import approximate_kl, policy_losses, value_losses
from trainers.ppo_options import PPOOptions
from trainers.ppo_passes import Spoken, say
from trainers.ppo_rollout import Rollout
from trainers.ppo_value import ValueFunction
from trainers.ppo_voices import SharedBase

ADAM_EPS = 1e-5  # as OpenAI's PPO (2403.17031); the usual 1e-8 gives tokens of no weight a full step


@dataclass(frozen=True)
class StepOutcome:
    """How one optimizer step found things before it changed them; means over the mini-batch's valid tokens."""

    policy_loss: float
    value_loss: float
    ratio: float
    approxkl: float
    clipfrac: float
    value_clipfrac: float


class Learner:
    """The optimizer and what it moves.

    Args:
        base: the shared base with its policy.
        value: the value function.
    """

    def __init__(self, base: SharedBase, value: ValueFunction, options: PPOOptions) -> None:
        self._base, self._value, self._options = base, value, options
        self._policy_parameters = [part for each in base.policy.values() for part in (each.a, each.b)]
        self._value_parameters = [*value.adapter_parameters, value.head_1H]
        groups = [
            {"params": [*self._policy_parameters, *value.adapter_parameters], "weight_decay": options.weight_decay},
            {"params": [value.head_1H], "weight_decay": 0.0},
        ]
        fused = base.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, eps=ADAM_EPS, fused=fused)

    def learn(self, experience: Experience, learning_rate: float, generator: torch.Generator) -> list[StepOutcome]:
        """All passes over a batch, or as many as `approxkl_stop` allows; the outcome of each step."""
        options, outcomes = self._options, []
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        answers = experience.logps_NR.shape[0]
        with _recomputing(self._base.lm, options.gradient_checkpointing):
            for _ in range(options.ppo_epochs):
                order = torch.randperm(answers, generator=generator).to(experience.logps_NR.device)
                for rows_M in order.chunk(options.mini_batches):
                    outcomes.append(self._step(experience, rows_M.sort().values))
                    if options.approxkl_stop is not None and outcomes[-1].approxkl > options.approxkl_stop:
                        return outcomes
        return outcomes

    def _step(self, experience: Experience, rows_M: torch.Tensor) -> StepOutcome:
        self.optimizer.zero_grad(set_to_none=True)
        tokens = experience.rollout.is_valid_NR[rows_M].sum()
        parts = rows_M.split(self._options.rows_at_once or len(rows_M))
        pieces = [self._backward(experience, rows, tokens) for rows in parts]
        # each has its own limit: a value function that is far off would else stop the policy from learning
        nn.utils.clip_grad_norm_(self._policy_parameters, self._options.max_grad_norm)
        nn.utils.clip_grad_norm_(self._value_parameters, self._options.max_grad_norm)
        self.optimizer.step()
        logps_MR, values_MR = (torch.cat(column) for column in zip(*pieces, strict=True))
        return self._outcome(experience, rows_M, logps_MR, values_MR)

    def _backward(
        self, experience: Experience, rows: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add these rows' share of the mini-batch's gradient; (logps, values) as they were found."""
        base, options, part = self._base, self._options, experience.rollout.rows(rows)
        with base.speaking(base.policy):
            spoken = say(base, part, temperature=options.temperature, has_entropy=options.entropy_coef > 0)
            loss = self._policy_loss(experience, rows, part, spoken) / tokens
            if self._value.voice is None:  # one forward pass for both, and the trunk learns from both
                values_NR = self._value.read(spoken)
                loss = loss + self._value_loss(experience, rows, part, values_NR) / tokens
            loss.backward()
        if self._value.voice is not None:
            with base.speaking(self._value.voice):
                values_NR = self._value.values(base, part)
                (self._value_loss(experience, rows, part, values_NR) / tokens).backward()
        return spoken.logps_NR.detach(), values_NR.detach()

    def _policy_loss(self, experience: Experience, rows: torch.Tensor, part: Rollout, spoken: Spoken) -> torch.Tensor:
        """The sum over these rows' valid tokens, less the entropy bonus."""
        losses_NR, _ = policy_losses(
            spoken.logps_NR, experience.logps_NR[rows], experience.advantages_NR[rows], self._options.cliprange
        )
        return torch.where(
            part.is_valid_NR, losses_NR - self._options.entropy_coef * spoken.entropy_NR, 0.0
        ).sum()  # fmt: skip

    def _value_loss(
        self, experience: Experience, rows: torch.Tensor, part: Rollout, values_NR: torch.Tensor
    ) -> torch.Tensor:
        losses_NR, _ = value_losses(
            values_NR, experience.values_NR[rows], experience.returns_NR[rows], self._options.cliprange_value
        )
        return self._options.vf_coef * torch.where(part.is_valid_NR, losses_NR, 0.0).sum()

    @torch.no_grad()
    def _outcome(
        self, experience: Experience, rows_M: torch.Tensor, logps_MR: torch.Tensor, values_MR: torch.Tensor
    ) -> StepOutcome:
        is_valid_MR, old_MR = experience.rollout.is_valid_NR[rows_M], experience.logps_NR[rows_M]
        losses_MR, is_clipped_MR = policy_losses(
            logps_MR, old_MR, experience.advantages_NR[rows_M], self._options.cliprange
        )
        value_losses_MR, is_value_clipped_MR = value_losses(
            values_MR, experience.values_NR[rows_M], experience.returns_NR[rows_M], self._options.cliprange_value
        )
        means = [losses_MR, value_losses_MR, torch.exp(logps_MR - old_MR)]
        shares = [is_clipped_MR.float(), is_value_clipped_MR.float()]
        policy_loss, value_loss, ratio, clipfrac, value_clipfrac = (
            float(masked_mean(numbers_MR, is_valid_MR)) for numbers_MR in (*means, *shares)
        )
        approxkl = float(approximate_kl(logps_MR, old_MR, is_valid_MR))
        return StepOutcome(policy_loss, value_loss, ratio, approxkl, clipfrac, value_clipfrac)


@contextmanager
def _recomputing(lm: nn.Module, is_on: bool) -> Iterator[None]:
    """Gradient checkpointing inside, if it is on.

    transformers ties it to training mode, which would switch on every dropout of the base as well; so only the layers'
    own flag is set, not that of the modules within.
    """
    layers = [module for module in lm.modules() if isinstance(module, GradientCheckpointingLayer)] if is_on else []
    if layers:
        lm.gradient_checkpointing_enable({"use_reentrant": False})
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
        if layers:
            lm.gradient_checkpointing_disable()
