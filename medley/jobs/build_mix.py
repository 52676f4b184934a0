"""The spec of a mixture of datasets: its sources found and pinned by content, their shares checked."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from medley.errors import ParameterError
from medley.jobs.build import ProblemList, check_output_name
from medley.jobs.spec import JobSpec

if TYPE_CHECKING:
    from hub import Registry


def mix_spec(
    registry: "Registry",
    weights: Mapping[str, float],
    *,
    name: str,
    replay: Mapping[str, float] | None = None,
    rows: int | None = None,
    seed: int = 0,
) -> JobSpec:
    """The spec of a mixture.

    Args:
        weights: dataset -> its weight among the data to learn from.
        name: the registry name that the mixture will be a version of.
        replay: dataset -> its share of the whole, in (0, 1), against forgetting.
        rows: train rows; as many as the shares allow when None.
        seed: decides which rows are drawn.

    Raises:
        ProblemsError: everything that is wrong.
    """
    from medley.corpus.mixture import Source, check_one_kind, shares_of

    problems = ProblemList()
    problems.attempt(check_output_name, registry, name, "dataset")
    wanted = [(ref, share, False) for ref, share in weights.items()]
    wanted += [(ref, share, True) for ref, share in (replay or {}).items()]
    found = [(problems.attempt(registry.get, ref, "dataset"), share, is_replay) for ref, share, is_replay in wanted]
    sources = [(version, share, is_replay) for version, share, is_replay in found if version is not None]
    problems.attempt(shares_of, [Source(version.label, version.path, *rest) for version, *rest in sources])
    problems.attempt(check_one_kind, {version.label: version.metadata.get("kind") for version, *_ in sources})
    if rows is not None and rows < 1:
        problems.found.append(f"rows must be at least 1, got {rows}.")
    problems.report("the mixture")
    params = {
        "sources": [
            {"id": version.id, "name": version.label, "share": float(share), "is_replay": is_replay}
            for version, share, is_replay in sources
        ],
        "rows": rows,
        "seed": seed,
    }
    return JobSpec("mix", f"Mix {name} from {', '.join(version.label for version, *_ in sources)}", params, name)


def parse_shares(words: str, *, what: str = "weight") -> dict[str, float]:
    """{"pirate": 3.0, "brief": 1.0} from `pirate=3 brief=1`, commas or spaces between them; no number means 1.

    Raises:
        ParameterError: what stands after the sign is no number, or a name occurs twice.
    """
    shares: dict[str, float] = {}
    for word in words.replace(",", " ").split():
        name, _, number = word.partition("=")
        try:
            value = float(number or 1)
        except ValueError:
            raise ParameterError(f"The {what} of {name} must be a number, got {number!a}.") from None
        if name in shares:
            raise ParameterError(f"{name} is named twice.")
        shares[name] = value
    return shares
