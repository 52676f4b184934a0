"""What can be turned on an extraction. No torch here."""

from dataclasses import dataclass

from medley.errors import ParameterError
from medley.options import option
from merging.recipes.recipe import parse_rank

RANK_KINDS = ("at_most", "energy")  # a difference of two models has full rank, so how much of it must be said


@dataclass(frozen=True)
class ExtractOptions:
    """An adapter from the difference of two full models."""

    rank: str = option("32", "Rank of every module as a whole number, or energy:0.99 for a rank of its own.")
    max_rank: int = option(128, "Largest rank that energy may take.", low=1, high=16_384)
    others: str = option(
        "save",
        "Embeddings, norms and the output layer that changed: save them whole in the adapter, refuse, or ignore them.",
        choices=("save", "refuse", "ignore"),
    )
    dtype: str | None = option(
        None, "Number type of the result; that of the model when empty.", choices=("float32", "float16", "bfloat16")
    )
    seed: int = option(0, "Seed of the random projections.", low=0, high=2**32 - 1, advanced=True)

    def problems(self) -> list[str]:
        """What is wrong with the rank, as a sentence."""
        try:
            parse_rank(self.rank, RANK_KINDS)
        except ParameterError as error:
            return [str(error)]
        return []
