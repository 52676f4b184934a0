"""In which fold of the training form an option stands; what is not listed stands with the class that declares it."""

from medley.options import Option
from trainers import TRAINERS

FOLDS: dict[str, tuple[str, ...]] = {  # in the order of the form
    "KL and reference": ("kl_estimator", "kl_adaptive", "kl_target", "kl_stop", "kl_samples", "kl_tokens"),
    "Reward, shaped": ("missing_eos_penalty", "normalise_reward", "clip_reward", "whiten_rewards"),
    "Updates and clipping": (
        "ppo_epochs",
        "mini_batches",
        "rows_at_once",
        "max_prompt_length",
        "cliprange",
        "approxkl_stop",
        "entropy_coef",
    ),
    "Value function and advantages": (
        "value",
        "vf_coef",
        "cliprange_value",
        "gamma",
        "lam",
        "whiten_advantages",
    ),
    "Optimizer and checkpoints": ("lr_schedule", "warmup_share"),
    "Machine and files": ("device", "num_processes", "check_memory", "gradient_checkpointing", "log_to"),
    "Samples while it learns": ("samples", "sample_tokens", "sample_every"),
}
CLASSES = {
    "EpochOptions": "Rows and steps",
    "CommonOptions": "Optimizer and checkpoints",
    "AdapterOptions": "The adapter",
    "AdapterTypeOptions": "The adapter",
    "SampleOptions": "Samples while it learns",
}
ORDER = (
    *("KL and reference", "Reward, shaped", "Updates and clipping", "Value function and advantages"),
    *("Rows and steps", "Optimizer and checkpoints", "The adapter", "Samples while it learns", "Machine and files"),
)


def fold_of(trainer: str, option: Option) -> str:
    """The title of the fold; a field that a trainer declares again stays where it was declared first."""
    listed = next((title for title, names in FOLDS.items() if option.name in names), None)
    if listed:
        return listed
    classes = TRAINERS[trainer].options_class.__mro__
    owner = [each for each in classes if option.name in vars(each).get("__annotations__", {})][-1]
    return CLASSES.get(owner.__name__, f"More of {trainer.upper()}" if len(trainer) <= 4 else f"More of the {trainer}")


def place_of(title: str) -> int:
    """Where the fold stands: a trainer's own first, then as in the order above."""
    return ORDER.index(title) + 1 if title in ORDER else 0
