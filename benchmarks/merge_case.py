"""What every case of the merge benchmark gives back, and how the table of them looks."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        case: what is done, and against whom.
        goal: in words, with its sign: "≥ 1000x faster".
        measured: the ratio that the goal speaks of.
        wanted: the number that the ratio is held against.
        is_floor: True where the ratio should be at least that, False where at most.
        ours, theirs: what was measured on either side, with units.
        our_error, their_error: relative errors, where both sides have one; None where there is nothing to compare.
        most_error: how many times their error ours may be.
    """

    case: str
    goal: str
    measured: float
    wanted: float
    is_floor: bool = True
    ours: str = ""
    theirs: str = ""
    our_error: float | None = None
    their_error: float | None = None
    most_error: float = 1.0

    @property
    def is_reached(self) -> bool:
        """Whether ratio and error are as wanted; errors are compared to six digits, which is what is printed."""
        in_time = self.measured >= self.wanted if self.is_floor else self.measured <= self.wanted
        if self.our_error is None or self.their_error is None:
            return in_time
        return in_time and round(self.our_error, 6) <= round(self.their_error * self.most_error, 6)


@dataclass(frozen=True)
class Result:
    """The rows of one case and what a reader has to know of how they came about."""

    rows: Sequence[Row]
    note: str


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| case | goal | measured | ours | theirs | error, ours | error, theirs | reached |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        errors = [f"{error:.6f}" if error is not None else "–" for error in (row.our_error, row.their_error)]
        cells = [row.case, row.goal, ratio_text(row.measured), row.ours, row.theirs, *errors]
        lines.append(f"| {' | '.join(cells)} | {'yes' if row.is_reached else 'no'} |")
    return "\n".join(lines)


def processor_note(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Every contender's processor time, which says more than the clock where other programs run beside."""
    seconds = {name: statistics.median(run["processor_seconds"] for run in each) for name, each in runs.items()}
    return f"Processor time: {', '.join(f'{name} {seconds_text(each)}' for name, each in seconds.items())}."


def ratio_text(ratio: float) -> str:
    """Three digits, or all before the point: 0.182x, 2.34x, 47.6x, 1873x."""
    return f"{ratio:.0f}x" if ratio >= 100 else f"{ratio:.3g}x"


def seconds_text(seconds: float) -> str:
    """A time in the unit that suits it."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def bytes_text(size: float) -> str:
    """A size in MB, or in GB from one on."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
