"""Group relative policy optimisation: TRL's GRPOTrainer behind our options and our rewards.

The policy answers each prompt several times; an answer is worth what it earns above the mean of its group. The
reference policy is a frozen copy of the adapter that training starts from; without one it is the base.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from trl import GRPOConfig, GRPOTrainer

from medley.corpus import read_rows
from medley.errors import DatasetError
from medley.lm.load import LoadedBase, load_base
from medley.lm.prompts import end_token_ids, prompt_ids
from medley.options import check_together
from trainers.cardless import Cardless
from trainers.epoch_order import EpochOrder
from trainers.grpo_options import GRPOOptions
from trainers.grpo_reward import reward_functions
from trainers.ppo_rollout import read_prompts
from trainers.reference import attach_policy
from trainers.reference_run import Log, run_held
from trainers.reporting import Reporter
from trainers.reward_words import parse_rewards
from trainers.trl_run import kept_precise, shared_arguments
from trainers.warm_up import SharedWarmUp
from trainers.work import TrainResult, TrainWork

Row = dict[str, Any]


def train(options: GRPOOptions, work: TrainWork) -> TrainResult:
    """Train a LoRA adapter towards a reward and measure how far it went from its reference.

    Same options, same machine, same adapter bytes on a CPU; a run that was stopped or killed and resumed from its
    checkpoint gives the same bytes as one that was not.

    Raises:
        ProblemsError: options that contradict each other.
        ParameterError: the reward cannot be read, or the targets match no module.
        DatasetError: there are not enough prompts for one step.
        IncompatibleError: a reward adapter does not fit the base.
        BaseModelError: the base cannot be loaded.
    """
    check_together(options)
    parse_rewards(options.reward)
    work.emit("progress", step=0, total=0, text="Loading the base model")
    base = load_base(work.base_dir, quant=options.quant, device=options.device)
    train_rows = _rows("train", base, options, work)
    _check_enough(len(train_rows), options.answers_of_step // options.num_generations)
    eval_rows = _rows("eval", base, options, work)[: options.max_eval_rows]
    base.model.generation_config.eos_token_id = sorted(end_token_ids(base.tokenizer, base.model.generation_config))
    set_seed(options.seed)  # LoRA's A is drawn from the global generator
    policy = attach_policy(base.model, options, work.init_adapter)
    functions, weights = reward_functions(options.reward, work.adapters, policy, base.tokenizer, work.labels)
    reporter = Reporter(work)
    with kept_precise(policy):
        trainer = SeededGRPOTrainer(
            model=policy,
            reward_funcs=functions,
            args=GRPOConfig(
                **shared_arguments(options, work, base, has_eval=bool(eval_rows)), **_own_arguments(options, weights)
            ),
            train_dataset=Dataset.from_list(train_rows),
            eval_dataset=Dataset.from_list(eval_rows) if eval_rows else None,
            processing_class=base.tokenizer,
            callbacks=[reporter],
        )
    trainer.add_callback(AnswerSampler(trainer, options, work))
    return run_held(trainer, reporter, base, options, work, drops_inputs=False, own_metrics=_rewards)


class SeededGRPOTrainer(Cardless, SharedWarmUp, GRPOTrainer):
    """TRL's GRPOTrainer with our order of prompts, on the tokens that the model is given in use."""

    def _get_train_sampler(self, dataset: Any = None) -> "RepeatedOrder":
        rows = self.train_dataset if dataset is None else dataset
        return RepeatedOrder(
            [len(ids) for ids in self._tokenize_prompts(rows["prompt"])[0]],
            seed=self.args.seed,
            is_grouped=self.args.train_sampling_strategy == "group_by_length",
            prompts_at_once=self.args.generation_batch_size // self.num_generations,
            answers=self.num_generations,
            times=self.num_iterations * self.args.steps_per_generation,
        )

    def _tokenize_prompts(self, prompts: Sequence[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [prompt_ids(self.processing_class, prompt) for prompt in prompts], None, {}


class RepeatedOrder(EpochOrder):
    """An order of prompts for each epoch, as TRL batches them: each prompt once for each of its answers.

    TRL's own sampler goes on drawing from one generator, so that a resumed run would see other prompts. As there, what
    is left of an epoch after the last whole batch is passed over.

    Args:
        lengths: tokens of each prompt.
        seed: as in `EpochOrder`.
        is_grouped: whether prompts of similar length share a batch.
        prompts_at_once: prompts that are answered at once.
        answers: to each prompt.
        times: how often a batch is handed out again; TRL takes a part of it each time.
    """

    def __init__(
        self, lengths: Sequence[int], *, seed: int, is_grouped: bool, prompts_at_once: int, answers: int, times: int
    ) -> None:
        super().__init__(lengths, seed=seed, grouped_by=prompts_at_once if is_grouped else None)
        self.prompts_at_once, self.answers, self.times = prompts_at_once, answers, times

    def __len__(self) -> int:
        batches = len(self.lengths) // self.prompts_at_once
        return batches * self.prompts_at_once * self.answers * self.times

    def __iter__(self) -> Iterator[int]:
        order = self.order()
        for start in range(0, len(order) - self.prompts_at_once + 1, self.prompts_at_once):
            batch = order[start : start + self.prompts_at_once]
            for _ in range(self.times):
                yield from (index for index in batch for _ in range(self.answers))


class AnswerSampler(TrainerCallback):
    """Shows a few of the answers that a step learned from, with what each earned."""

    def __init__(self, trainer: GRPOTrainer, options: GRPOOptions, work: TrainWork) -> None:
        self.trainer, self.options, self.work = trainer, options, work

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step % self.options.sample_every and state.global_step != 1:
            return
        logs, weights = self.trainer._logs, self.trainer.reward_weights.tolist()
        earned = zip(*(logs["rewards"][name] for name in self.trainer.reward_func_names), strict=True)
        rows = list(zip(logs["prompt"], logs["completion"], earned, strict=True))[-args.generation_batch_size :]
        for number, (prompt, answer, rewards) in enumerate(rows[: self.options.samples]):
            self.work.emit(
                "sample",
                step=state.global_step,
                number=number,
                prompt=prompt[-1]["content"],
                text=answer[-1]["content"],
                score=round(sum(each * weight for each, weight in zip(rewards, weights, strict=True)), 4),
            )


def _check_enough(prompts: int, prompts_of_step: int) -> None:
    if prompts < prompts_of_step:
        raise DatasetError(
            f"One step answers {prompts_of_step} prompts, but there are {prompts}. "
            "Lower batch_size, or raise num_generations."
        )


def _own_arguments(options: GRPOOptions, weights: list[float]) -> dict[str, Any]:
    return {
        "beta": options.beta,
        "num_generations": options.num_generations,
        "num_generations_eval": 1,
        "max_completion_length": options.max_new_tokens,
        "temperature": options.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "loss_type": options.loss,
        "reward_weights": weights,
        "disable_dropout": True,
    }


def _rows(split: str, base: LoadedBase, options: GRPOOptions, work: TrainWork) -> list[Row]:
    """Different prompts in their order, without those that are too long; rows of every kind have one."""
    rows = read_rows(work.data_dir, split)
    if not rows and split == "eval":
        return []
    kept = {tuple(each.ids) for each in read_prompts(rows, base.tokenizer, options.max_length, work, "max_length")}
    found: dict[tuple[int, ...], Row] = {}
    for row in rows:
        ids = tuple(prompt_ids(base.tokenizer, row["prompt"]))
        if ids in kept:
            found.setdefault(ids, {"prompt": [dict(message) for message in row["prompt"]]})
    return list(found.values())


def _rewards(log: Log) -> dict[str, float]:
    """Mean reward of the first and of the last step, and of the eval prompts where there are any."""
    found = {name: [line[name] for line in log if line.get(name) is not None] for name in ("reward", "eval_reward")}
    return {
        key: round(value, 6)
        for name, values in found.items()
        if values
        for key, value in ((f"{name}_before", values[0]), (name, values[-1]))
    }
