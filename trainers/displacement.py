"""A warning when training by preference makes the preferred answers unlikely as well.

The loss only sees the difference between two answers, so both may fall while it improves; their probability then goes
to texts that nobody compared (likelihood displacement; Razin et al. 2024, 2410.08847).
"""

from collections import deque
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trainers.work import TrainWork

DROP_NATS = 1.0  # an answer is then about a third (1/e) as likely as it was
TRAIN_STEPS = 10  # a single batch says nothing of the rows that it does not hold


class DisplacementWatch(TrainerCallback):
    """Warns once, when chosen and rejected answers have both lost more than 1 nat of log-probability on average.

    The averages are over the eval rows at a measurement; without eval rows, over the last 10 training steps.

    Args:
        beta: rewards are beta times the change of log-probability against the reference.
        has_eval: whether there are measurements on eval rows.
    """

    def __init__(self, work: TrainWork, *, beta: float, has_eval: bool) -> None:
        self.work, self.beta = work, beta
        self.prefix = "eval_" if has_eval else ""
        self.recent: dict[str, deque[float]] = {
            side: deque(maxlen=1 if has_eval else TRAIN_STEPS) for side in ("chosen", "rejected")
        }
        self.has_warned = False

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        for side, changes in self.recent.items():
            name = f"{self.prefix}rewards/{side}"
            if name in (logs or {}):
                changes.append(logs[name] / self.beta)
        is_full = all(len(changes) == changes.maxlen for changes in self.recent.values())
        if self.has_warned or not is_full:
            return
        chosen, rejected = (sum(changes) / len(changes) for changes in self.recent.values())
        if chosen < -DROP_NATS and rejected < -DROP_NATS:
            self.has_warned = True
            self.work.emit("warning", step=state.global_step, text=self._text(chosen, rejected))

    def _text(self, chosen: float, rejected: float) -> str:
        where = "on the eval rows" if self.prefix else f"over the last {TRAIN_STEPS} steps"
        return (
            f"Chosen and rejected answers both become less likely: their log-probability changed by {chosen:.1f} and "
            f"{rejected:.1f} nats against the reference, {where}. The model may learn to say something that is in "
            "neither. Try a higher beta, a lower learning_rate or fewer epochs."
        )
