"""What can be turned on a conversion. No torch here."""

from dataclasses import dataclass

from medley.errors import ParameterError
from medley.options import option
from merging.recipes.recipe import RankRule, parse_rank

RANK_KINDS = ("auto", "at_most", "energy")
AUTO_ENERGY = 0.99  # what `auto` keeps of a delta of full rank


@dataclass(frozen=True)
class ConvertOptions:
    """A plain LoRA from an adapter of another kind."""

    rank: str = option(
        "auto", "auto (exact where the delta has a low rank, else energy:0.99), a whole number, or energy:x."
    )
    max_rank: int = option(128, "Largest rank that a delta of full rank may take.", low=1, high=16_384)
    dtype: str | None = option(
        None, "Number type of the result; that of the adapter when empty.", choices=("float32", "float16", "bfloat16")
    )
    seed: int = option(0, "Seed of the random projections.", low=0, high=2**32 - 1, advanced=True)

    def problems(self) -> list[str]:
        """What is wrong with the rank, as a sentence."""
        try:
            parse_rank(self.rank, RANK_KINDS)
        except ParameterError as error:
            return [str(error)]
        return []

    def rule(self, *, has_full_rank: bool) -> RankRule:
        """The rank rule of one module."""
        rule = parse_rank(self.rank)
        return RankRule("energy", AUTO_ENERGY) if rule.kind == "auto" and has_full_rank else rule
