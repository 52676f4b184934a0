"""What can be turned on supervised fine-tuning."""

from dataclasses import dataclass

from medley.options import option
from trainers.options import AdapterTypeOptions, CommonOptions, EpochOptions, SampleOptions


@dataclass(frozen=True)
class SFTOptions(SampleOptions, AdapterTypeOptions, CommonOptions, EpochOptions):
    """Supervised fine-tuning of a LoRA adapter (Hu et al. 2021, 2106.09685) or, on a 4-bit base, QLoRA (2305.14314).

    Defaults follow "LoRA Without Regret" (all linear layers, about ten times the learning rate of full fine-tuning)
    and alpha = 2r (2405.09673). Other kinds of adapter, with their papers, are in adapter_kinds.py.
    """

    learning_rate: float | None = option(
        None, "Peak learning rate; when empty, that of the adapter's kind.", above=0, high=10
    )
