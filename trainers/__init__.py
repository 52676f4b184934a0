"""One file per trainer, each behind one frozen options dataclass.

    import trainers
    trainers.TRAINERS["sft"].train(SFTOptions(rank=8), TrainWork(base_dir=…, data_dir=…, …))

A trainer takes folders and objects, never names: it works with no registry, home or network. Importing this package
loads neither torch nor transformers; a trainer's module is imported when it is asked to train.
"""

from trainers.dpo_options import DPOOptions
from trainers.grpo_options import GRPOOptions
from trainers.kto_options import KTOOptions
from trainers.presets import PRESETS, Preset, preset
from trainers.reward_options import RewardOptions
from trainers.sft_options import SFTOptions
from trainers.table import TRAINERS, Trainer
from trainers.work import TrainResult, TrainWork

__all__ = [
    "PRESETS",
    "TRAINERS",
    "DPOOptions",
    "GRPOOptions",
    "KTOOptions",
    "Preset",
    "RewardOptions",
    "SFTOptions",
    "TrainResult",
    "TrainWork",
    "Trainer",
    "preset",
]
