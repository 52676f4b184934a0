"""Faults of a row that are a slip in a few rows and another kind of file in many: the few are left out, counted."""

from medley.corpus import rules
from medley.corpus.tally import Tally
from medley.errors import DatasetError

MAX_FAULTY_SHARE = 0.05  # of rows with one of these faults; more is not a slip
FAULTS = (rules.UNKNOWN_ROLE, rules.UNKNOWN_LABEL, rules.CHAT_MARKS, rules.NOT_IN_FORMAT)
MAX_NAMED = 5


def check_what_is_left(tally: Tally, label: str, format: str, *, has_rows: bool) -> None:
    """Nothing, when the rows of a source can be used.

    Args:
        label: names the source in the message.
        format: the format its rows were read in.

    Raises:
        DatasetError: a fault is more than an exception, or no row is left.
    """
    for fault in FAULTS:
        if tally.dropped[fault] > MAX_FAULTY_SHARE * tally.found:
            raise DatasetError(f"{label}{_too_many(fault, tally, format)}")
    if not has_rows:
        reasons = ", ".join(f"{why} ({count})" for why, count in tally.dropped.most_common())
        raise DatasetError(f"No row of {label} can be used. Of {tally.found} rows found, dropped: {reasons}.")


def _too_many(fault: str, tally: Tally, format: str) -> str:
    """What follows the name of the source."""
    share = f"{tally.dropped[fault]} of {tally.found} rows"
    named = ", ".join(name for name, _ in tally.values[fault].most_common(MAX_NAMED))
    if fault == rules.UNKNOWN_ROLE:
        known = ", ".join(name for names in rules.ROLES.values() for name in names)
        return f" has roles that Medley does not know in {share}: {named}. Known: {known}."
    if fault == rules.UNKNOWN_LABEL:
        return (
            f" has labels that say neither good nor bad in {share}: {named}. Write true or false, or 1 or 0. "
            f"To learn every row as an example, whatever its label, name the format: {format}."
        )
    if fault == rules.CHAT_MARKS:
        return (
            f" has the marks of a chat template within its texts in {share}: {named}. The base's template writes its "
            "own, so they would stand there twice. Import the texts without them, one message a turn."
        )
    example = tally.examples[fault][0]
    return f": {share} do not have the same form as the others, for example row {example['row']}: {example['text']}."
