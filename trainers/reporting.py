"""What a transformers Trainer tells while it runs, turned into our events; and the question whether it should stop."""

import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from medley.lm.prompts import prompt_ids
from trainers.checkpoints import mark_whole
from trainers.work import TrainWork

NOT_METRICS = {"total_flos", "train_runtime", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second"}


class Reporter(TrainerCallback):
    """Emits progress, metrics, speed, memory and checkpoints, and stops the run when the work says so."""

    def __init__(self, work: TrainWork) -> None:
        self.work = work
        self.was_stopped = False
        self.last_eval_step = -1
        self._step_began = math.inf
        self._step_seconds = 0.0
        self._tokens_before: float | None = None

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._step_began = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        self._step_seconds = time.perf_counter() - self._step_began
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
        if "loss" in numbers:
            numbers |= self._speed(numbers) | {"memory_gb": round(peak_memory_gb(), 3)}
        if "train_loss" not in numbers:  # the summary at the end goes into the result
            self.work.emit("metric", step=state.global_step, **numbers)

    def _speed(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Tokens that went through the model in the last step, padding not counted, a second."""
        tokens, before = numbers.get("num_tokens"), self._tokens_before
        self._tokens_before = tokens
        if tokens is None or before is None or not 0 < self._step_seconds < math.inf:
            return {}  # after a start or a resume the count goes from an unknown number
        return {"tokens_per_second": round((tokens - before) / self._step_seconds, 1)}

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        wait_for_all()  # each process writes the state of its own random numbers
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero:
            mark_whole(checkpoint)
        self.work.emit("checkpoint", step=state.global_step, path=checkpoint.name)


def wait_for_all() -> None:
    """Return once every process that trains together is here; at once where there is one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def peak_memory_gb() -> float:
    """The most that this process ever held: on the GPU where it uses one, else resident in memory."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


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
