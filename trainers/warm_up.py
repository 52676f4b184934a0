"""How many steps the learning rate climbs, from the share of them that the options say."""

from typing import Any

ROUNDING = 1e-9  # 0.29 of 100 steps are 29, though the product is a little less


def warm_up_steps(share: float, steps: int) -> int:
    """The whole steps within this share of all; 0 where it is less than one, as the first step would stand still.

    transformers rounds up, and takes a share of 1 for one step.
    """
    return int(steps * share + ROUNDING)


class SharedWarmUp:
    """Stands before a TRL trainer among its parents: its `warmup_steps` are a share of the run."""

    args: Any
    warmup_share: float | None = None

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.warmup_share is None:
            self.warmup_share = self.args.warmup_steps
        self.args.warmup_steps = warm_up_steps(self.warmup_share, num_training_steps)
        return super().create_scheduler(num_training_steps, optimizer)
