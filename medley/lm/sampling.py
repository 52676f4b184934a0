"""How an answer is drawn, as options; flags and controls come from them. The choice itself is in `next_token.py`."""

from dataclasses import dataclass

from medley.options import option


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn; the same for all panes of a comparison."""

    max_new_tokens: int = option(200, "Longest answer in tokens.", low=1, high=32_768)
    temperature: float = option(
        0.0, "0 always takes the likeliest token; higher is more varied, 1 is the model's own odds.", low=0, high=5
    )
    top_p: float = option(
        1.0, "Draw from the likeliest tokens that together have this probability.", above=0, high=1, advanced=True
    )
    top_k: int = option(0, "Draw from this many likeliest tokens; 0 is no limit.", low=0, advanced=True)
    repetition_penalty: float = option(
        1.0, "Above 1, tokens that stand in the prompt or answer become less likely.", low=0.5, high=2, advanced=True
    )
    seed: int = option(0, "Same seed, same answer; without effect at temperature 0.", low=0, high=2**32 - 1)
