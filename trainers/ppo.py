"""Proximal policy optimisation on one base in memory: policy, frozen reference, rewards and value beside each other.

This file is the loop: answers are written, scored, judged and learned from, update by update. The maths is in
`ppo_advantages`, `ppo_kl` and `ppo_losses`, the shared base in `ppo_voices`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import set_seed

from medley.corpus import read_rows
from medley.errors import IncompatibleError
from medley.lm.adapter_file import read_config
from medley.lm.load import LoadedBase, load_base
from medley.lm.prompts import end_token_ids
from medley.options import check_together
from trainers.adapter import attach_adapter, save_adapter
from trainers.checkpoints import newest_checkpoint
from trainers.ppo_checkpoint import RunState, load_checkpoint, save_checkpoint
from trainers.ppo_experience import judge
from trainers.ppo_kl import AdaptiveKL
from trainers.ppo_options import PPOOptions
from trainers.ppo_passes import choose_attention
from trainers.ppo_report import final_metrics, find_warnings, kept_numbers, update_metrics
from trainers.ppo_reward import Reward, RewardModel, load_reward_models
from trainers.ppo_rollout import Prompt, Rollout, prompts_of_update, read_prompts, write_answers
from trainers.ppo_update import Learner
from trainers.ppo_value import ValueFunction, make_value
from trainers.ppo_voices import SharedBase, Voice, frozen_copy
from trainers.reward_words import adapters_in
from trainers.work import TrainResult, TrainWork


def train(options: PPOOptions, work: TrainWork) -> TrainResult:
    """Train a LoRA adapter so that its answers earn more reward.

    The reference is a frozen copy of the adapter the work starts from, or the bare base without one. Same options,
    same machine, same adapter bytes on a CPU; a run that was stopped or killed and resumed from its checkpoint gives
    the same bytes as one that was not.

    Raises:
        DatasetError: no prompt is short enough.
        BaseModelError: the base cannot be loaded.
        ProblemsError: options that contradict each other.
        ParameterError: the targets match no module, or a reward is not understood.
        IncompatibleError: an adapter is not a plain LoRA of this base, or a reward adapter has no score head.
    """
    check_together(options)
    work.emit("progress", step=0, total=0, text="Loading the base model")
    if work.init_adapter is not None and read_config(work.init_adapter).task_type == "SEQ_CLS":
        raise IncompatibleError("A reward adapter cannot be the start of a policy. Start from an SFT adapter.")
    loaded = load_base(work.base_dir, quant=options.quant, device=options.device)
    prompts = read_prompts(read_rows(work.data_dir, "train"), loaded.tokenizer, options.max_prompt_length, work)
    set_seed(options.seed)  # LoRA's A is drawn from the global generator
    model = attach_adapter(loaded.model, options, work.init_adapter)
    run = _prepare(options, work, loaded, SharedBase(model), prompts)
    was_stopped = run.go_on()
    adapter_dir = None
    if not was_stopped:
        adapter_dir = save_adapter(
            model, work.out_dir / "adapter", base_id=work.base_id, base_revision=work.base_revision
        )
        work.emit("artifact", path=adapter_dir.name)
    return TrainResult(
        adapter_dir=adapter_dir,
        checkpoint=newest_checkpoint(work.out_dir),
        steps=run.state.updates,
        was_stopped=was_stopped,
        trained_on=loaded.device.trained_on,
        template_hash=loaded.template_hash,
        metrics=final_metrics(run.state.history),
    )


def _prepare(
    options: PPOOptions, work: TrainWork, loaded: LoadedBase, base: SharedBase, prompts: list[Prompt]
) -> "Run":
    choose_attention(base, max(len(prompt.ids) for prompt in prompts) + options.max_new_tokens)
    reference = frozen_copy(base.policy, base.lm.dtype) if work.init_adapter else None
    models = load_reward_models(work.adapters, base, options.rows_at_once)
    generator = torch.Generator().manual_seed(options.seed)
    optimised: list[RewardModel] = [models[name] for name in adapters_in(options.reward)]
    value = make_value(options.value, base, optimised, generator)
    state = RunState(generator, AdaptiveKL(options.kl_coef, options.kl_target))
    learner = Learner(base, value, options)
    if work.resume_from is not None:
        load_checkpoint(work.resume_from, state, base, value, learner)
    gold = Reward(options.gold_reward, models) if options.gold_reward else None
    return Run(options, work, loaded, base, prompts, reference, Reward(options.reward, models), gold, value, learner,
               state)  # fmt: skip


@dataclass
class Run:
    """A run between its start, or a checkpoint, and its end."""

    options: PPOOptions
    work: TrainWork
    loaded: LoadedBase
    base: SharedBase
    prompts: list[Prompt]
    reference: Voice | None
    reward: Reward
    gold: Reward | None
    value: ValueFunction
    learner: Learner
    state: RunState

    def go_on(self) -> bool:
        """Update until the end, a stop or the KL limit; True where it was stopped from outside."""
        options, state = self.options, self.state
        saved = state.updates
        while state.updates < options.updates and "kl" not in state.told:
            self._update()
            self.work.emit("progress", step=state.updates, total=options.updates, text="Training")
            is_last = state.updates >= options.updates or "kl" in state.told
            is_stopped = not is_last and self.work.should_stop()
            if is_last or is_stopped or state.updates - saved >= options.save_every:
                saved = state.updates
                folder = save_checkpoint(
                    self.work.out_dir, state, self.base, self.value, self.learner, keep=options.keep_checkpoints
                )
                self.work.emit("checkpoint", step=saved, path=folder.name)
            if is_stopped:
                return True
        return False

    def _update(self) -> None:
        options, state = self.options, self.state
        rollout = self._write()
        scores_N = self.reward.score(rollout)
        gold_N = self.gold.score(rollout) if self.gold else None
        kl_coef, learning_rate = state.kl.coef, _learning_rate(options, state.updates)
        experience = judge(
            rollout, scores_N, self.base, self.reference, self.value,
            kl_coef=kl_coef, running=state.scores, options=options,
        )  # fmt: skip
        kl = float(experience.kl_N.mean())
        is_too_far = options.kl_stop is not None and kl > options.kl_stop
        outcomes = [] if is_too_far else self.learner.learn(experience, learning_rate, state.generator)
        if options.kl_adaptive:
            state.kl.update(kl)
        state.updates += 1
        metrics = update_metrics(experience, scores_N, gold_N, outcomes, kl_coef=kl_coef, learning_rate=learning_rate)
        state.history.append(kept_numbers(metrics, gold_N))
        self.work.emit("metric", step=state.updates, **metrics)
        self._show(rollout, scores_N)
        self._warn(metrics, kl if is_too_far else None)

    def _write(self) -> Rollout:
        options, state, tokenizer = self.options, self.state, self.loaded.tokenizer
        chosen = prompts_of_update(len(self.prompts), options.batch_size, state.updates, options.seed)
        return write_answers(
            self.base,
            tokenizer,
            [self.prompts[place] for place in chosen],
            end_token_ids(tokenizer, self.base.lm.generation_config),
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            generator=state.generator,
        )

    def _show(self, rollout: Rollout, scores_N: torch.Tensor) -> None:
        """Some of the batch's answers, at the first update and every few after it."""
        if self.state.updates != 1 and self.state.updates % self.options.sample_every:
            return
        for number in range(min(self.options.samples, len(rollout.answers))):
            self.work.emit(
                "sample",
                step=self.state.updates,
                number=number,
                prompt=rollout.prompts[number],
                text=rollout.answers[number],
                score=round(float(scores_N[number]), 4),
            )

    def _warn(self, metrics: Mapping[str, float], too_far: float | None) -> None:
        """Tell what goes wrong, each thing once."""
        found = find_warnings(self.state.history)
        if not all(map(math.isfinite, metrics.values())):
            found["finite"] = "The losses or scores are not finite numbers any more. Lower learning_rate."
        if too_far is not None:
            found["kl"] = (
                f"The run ends here: an answer is {too_far:.2f} nats from the reference, more than kl_stop "
                f"{self.options.kl_stop:g}. The adapter is as it was before this batch."
            )
        for name, text in found.items():
            if name not in self.state.told:
                self.state.told.append(name)
                self.work.emit("warning", step=self.state.updates, text=text)


def _learning_rate(options: PPOOptions, update: int) -> float:
    """The rate of update number `update`, from 0."""
    share = 1 - update / options.updates if options.lr_schedule == "linear" else 1.0
    return options.learning_rate * share
