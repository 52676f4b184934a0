"""Several datasets as one: shares by rows, drawn without replacement, each source's own split kept.

The weights say how the rows are shared out; a replay share is a part of the whole, of data that should not be
forgotten. No row is drawn twice: without a number of rows the mixture is as large as its scarcest source allows, and
asking for more is an error. A train row whose conversation an eval split contains, of whichever source, is left out.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor
from pathlib import Path
from typing import Any

from medley.corpus.duplicates import find_duplicates
from medley.corpus.folder import SPLITS, json_line, new_folder, read_rows, write_lines
from medley.corpus.report import ImportReport, read_report, write_report
from medley.corpus.split import beginnings
from medley.errors import DatasetError, ParameterError
from medley.events import Emit, ignore_event

IN_EVAL, TWICE = "prompt is in an eval split", "exact duplicate of another source"
Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A dataset of a mixture.

    Attributes:
        name: as reports show it, for example `pirate:v1`.
        folder: its dataset folder.
        share: for a replay source its part of the whole mixture, in (0, 1); otherwise its weight among the others.
    """

    name: str
    folder: Path
    share: float
    is_replay: bool = False


@dataclass
class Pool:
    """The rows of all sources, by source, and what was left out of them."""

    train: dict[str, list[Row]] = field(default_factory=dict)
    held_out: dict[str, list[Row]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def parts(self) -> tuple[dict[str, list[Row]], dict[str, list[Row]]]:
        """The rows of the splits, in the order of SPLITS."""
        return self.train, self.held_out


def mix_datasets(
    sources: Sequence[Source], out_dir: Path, *, rows: int | None = None, seed: int = 0, emit: Emit = ignore_event
) -> ImportReport:
    """A new dataset folder, and the report of where its rows come from.

    The eval split is made of the sources' eval splits in the same shares, as large as they allow.

    Args:
        rows: train rows of the mixture; as many as the shares allow when not given.

    Raises:
        ParameterError: shares that cannot be, or more rows than there are.
        DatasetError: sources of different kinds, or nothing to draw from.
        NotFoundError, ConflictError, StorageError: as for any dataset folder.
    """
    shares = shares_of(sources)
    reports = [read_report(source.folder) for source in sources]
    check_one_kind({source.name: report.kind for report, source in zip(reports, sources, strict=True)})
    emit("progress", step=0, total=0, text="Reading the sources")
    pool = _pool(sources)
    counts = {
        "train": row_counts(shares, {name: len(part) for name, part in pool.train.items()}, rows),
        "eval": _eval_counts(shares, pool.held_out),
    }
    drawn = {split: draw(rows_of, counts[split], seed) for split, rows_of in zip(SPLITS, pool.parts, strict=True)}
    emit("progress", step=0, total=0, text="Writing")
    with new_folder(out_dir) as staging:
        written = {split: write_lines(staging / f"{split}.jsonl", drawn[split]) for split in SPLITS}
        there = sum(len(part) for rows_of in pool.parts for part in rows_of.values())
        taken = {f"{split} rows from {name}": n for split, by_name in counts.items() for name, n in by_name.items()}
        report = ImportReport(
            format="mixture",
            kind=reports[0].kind,
            source=", ".join(f"{share:.1%} {name}" for name, share in shares.items()),
            source_sha256={},
            encoding={},
            found={"rows": there + pool.dropped.total(), **taken},
            rows=written,
            prompts={split: len({beginnings(row["prompt"])[-1] for row in drawn[split]}) for split in SPLITS},
            dropped=dict(pool.dropped),
            settings={"seed": seed, "rows": rows, "shares": shares},
            licence=_joined([report.licence for report in reports]),
            provenance=_provenance([report.provenance for report in reports]),
            duplicates=find_duplicates(staging, written).to_json(),
        )
        write_report(staging, report)
    return report


def _eval_counts(shares: Mapping[str, float], held_out: Mapping[str, Sequence[Row]]) -> dict[str, int]:
    """Rows to draw from each eval split: the shares among the sources that have one, as many as these allow."""
    there = {name: len(rows) for name, rows in held_out.items() if rows}
    whole = sum(shares[name] for name in there)
    return row_counts({name: shares[name] / whole for name in there}, there, None) if there else {}


def check_one_kind(kinds: Mapping[str, str | None]) -> None:
    """Nothing, if datasets of these kinds, by their names, may be mixed.

    Raises:
        DatasetError: they are of several kinds.
    """
    names = {kind: name for name, kind in kinds.items()}
    if len(names) > 1:
        said = ", ".join(f"{name} is {kind} data" for kind, name in names.items())
        raise DatasetError(f"Only datasets of one kind can be mixed: {said}.")


def shares_of(sources: Sequence[Source]) -> dict[str, float]:
    """Each source's share of the rows; they sum to 1. Replay shares are taken off the whole first.

    Raises:
        ParameterError: fewer than two sources, one named twice, or shares that leave nothing for the others.
    """
    names = [source.name for source in sources]
    if len(names) < 2:
        raise ParameterError("A mixture needs at least two datasets.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ParameterError(
            f"Named twice: {', '.join(twice)}. A dataset is either learned or replayed, with one share."
        )
    for source in sources:
        if not source.share > 0 or (source.is_replay and source.share >= 1):
            limits = "in (0, 1)" if source.is_replay else "above 0"
            raise ParameterError(f"The share of {source.name} must be {limits}, got {source.share:g}.")
    replay = sum(source.share for source in sources if source.is_replay)
    weights = sum(source.share for source in sources if not source.is_replay)
    if replay >= 1 or not weights:
        raise ParameterError(f"Replay takes {replay:.0%} of the rows, which leaves nothing for the data to learn.")
    return {
        source.name: source.share if source.is_replay else (1 - replay) * source.share / weights for source in sources
    }


def row_counts(shares: Mapping[str, float], available: Mapping[str, int], rows: int | None) -> dict[str, int]:
    """How many rows to draw from each source: the shares of `rows`, rounded by the largest remainder.

    Raises:
        ParameterError: a source has fewer than its share.
        DatasetError: a source has none at all.
    """
    empty = [name for name in shares if not available[name]]
    if empty:
        raise DatasetError(f"{', '.join(empty)} has no rows left to mix: all of them are in an eval split.")
    most = floor(min((available[name] / share for name, share in shares.items()), default=0) + 1e-9)
    total = most if rows is None else rows
    exact = {name: share * total for name, share in shares.items()}
    counts = {name: floor(wanted + 1e-9) for name, wanted in exact.items()}
    for name in sorted(exact, key=lambda name: counts[name] - exact[name])[: total - sum(counts.values())]:
        counts[name] += 1
    for name, count in counts.items():
        if count > available[name]:
            if rows is None:
                counts[name] = available[name]  # the remainder that was rounded up
                continue
            raise ParameterError(
                f"{rows:,} rows need {count:,} of {name}, which has {available[name]:,}. No row is taken twice: "
                f"ask for at most {most:,} rows, or change the shares."
            )
    return counts


def draw(rows_by_source: Mapping[str, Sequence[Row]], counts: Mapping[str, int], seed: int) -> list[Row]:
    """That many different rows of each source, shuffled together; the same seed gives the same rows."""
    drawn = []
    for name, count in counts.items():
        places = random.Random(f"{seed} {name}").sample(range(len(rows_by_source[name])), count)
        drawn += [rows_by_source[name][place] for place in sorted(places)]
    random.Random(seed).shuffle(drawn)
    return drawn


def _pool(sources: Sequence[Source]) -> Pool:
    """Every usable row: the eval splits first, so that no train row can hold what they ask."""
    pool, seen = Pool(), set[str]()
    for source in sources:
        pool.held_out[source.name] = list(_new(read_rows(source.folder, "eval"), seen, pool.dropped))
    asked = {beginnings(row["prompt"])[-1] for rows in pool.held_out.values() for row in rows}
    for source in sources:
        kept = []
        for row in _new(read_rows(source.folder, "train"), seen, pool.dropped):
            if asked.isdisjoint(beginnings(row["prompt"])):
                kept.append(row)
            else:
                pool.dropped[IN_EVAL] += 1
        pool.train[source.name] = kept
    return pool


def _new(rows: Sequence[Row], seen: set[str], dropped: Counter[str]) -> Iterator[Row]:
    for row in rows:
        line = json_line(row)
        if line in seen:
            dropped[TWICE] += 1
            continue
        seen.add(line)
        yield row


def _joined(licences: Sequence[str | None]) -> str | None:
    """All licences of the sources; None as soon as one is not stated, for then the whole is not free either."""
    return ", ".join(dict.fromkeys(licences)) if all(licences) else None


def _provenance(said: Sequence[str | None]) -> str | None:
    if None in said:
        return None
    return said[0] if len(set(said)) == 1 else "mixed"
