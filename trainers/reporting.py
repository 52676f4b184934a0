"""What a transformers Trainer tells while it runs, turned into our events; and the question whether it should stop."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from medley.lm.prompts import prompt_ids
from trainers.checkpoints import mark_whole
from trainers.work import TrainWork

NOT_METRICS = {"total_flos", "train_runtime", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second"}


class Reporter(TrainerCallback):
    """Emits progress, metrics and checkpoints, and stops the run when the work says so."""

    def __init__(self, work: TrainWork) -> None:
        self.work = work
        self.was_stopped = False
        self.last_eval_step = -1

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        self.work.emit("progress", step=state.global_step, total=state.max_steps, text="Training")
        if self.work.should_stop() and state.global_step < state.max_steps:
            self.was_stopped = True
            control.should_training_stop = control.should_save = True
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        numbers = {name: value for name, value in (logs or {}).items() if name not in NOT_METRICS}
        if "eval_loss" in numbers:
            self.last_eval_step = state.global_step
        if "loss" in numbers and not math.isfinite(numbers["loss"]):
            self.work.emit("warning", step=state.global_step, text="The loss is not a finite number any more.")
        if "train_loss" not in numbers:  # the summary at the end goes into the result
            self.work.emit("metric", step=state.global_step, **numbers)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        mark_whole(checkpoint)
        self.work.emit("checkpoint", step=state.global_step, path=checkpoint.name)


class Sampler(TrainerCallback):
    """Answers a few eval prompts at every measurement, greedily, so that a person can watch it learn."""

    def __init__(self, work: TrainWork, tokenizer: Any, rows: Sequence[dict[str, Any]], max_new_tokens: int) -> None:
        self.work, self.tokenizer, self.rows, self.max_new_tokens = work, tokenizer, rows, max_new_tokens

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        was_training = model.training
        model.eval()
        for number, row in enumerate(self.rows):
            text = self._answer(model, row["prompt"])
            prompt = row["prompt"][-1]["content"]
            self.work.emit("sample", step=state.global_step, number=number, prompt=prompt, text=text)
        model.train(was_training)

    @torch.no_grad()
    def _answer(self, model: Any, messages: Sequence[dict[str, str]]) -> str:
        ids = torch.tensor([prompt_ids(self.tokenizer, messages)], device=model.device)
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
        )
        return self.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
