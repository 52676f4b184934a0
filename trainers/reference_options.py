"""What can be turned on a policy that is held to a frozen reference: how firmly, and how the distance is measured."""

from dataclasses import dataclass

from medley.options import option


@dataclass(frozen=True)
class ReferenceOptions:
    """For trainers of a policy with a reference: the adapter to start from, or the base where there is none."""

    adapter: str = option(
        "lora",
        "Kind of adapter; the reference is of the same kind. TRL copies no other kinds whole.",
        choices=("lora", "dora"),
        advanced=True,
    )
    beta: float = option(0.1, "How firmly the policy is held to its reference; more is firmer.", above=0, high=100)
    kl_samples: int = option(
        16, "Answers sampled after training to measure the KL to the reference; 0 measures none.", low=0, advanced=True
    )
    kl_tokens: int = option(64, "Longest of those answers in tokens.", low=1, high=4096, advanced=True)
