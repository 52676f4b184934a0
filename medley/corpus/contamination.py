"""Whether a dataset gives an evaluation suite away: items of a file, or of another dataset, that stand in its rows."""

from collections.abc import Iterator
from pathlib import Path

from medley.corpus.folder import REPORT_FILE, SPLITS, read_rows
from medley.corpus.overlap import Overlap, Pieces, find_overlap, record_pieces, row_pieces
from medley.corpus.records import read_records
from medley.corpus.sources import inspect


def overlap_with(folder: Path, other: Path) -> Overlap:
    """What the rows of a dataset folder, train and eval, have in common with a data file or another dataset folder.

    The file may hold any columns: of a question with choices and an answer every text is a piece of its own.

    Raises:
        NotFoundError, DatasetError: one of them cannot be read.
    """
    items = list(_items(Path(other)))
    return find_overlap((row_pieces(row) for split in SPLITS for row in read_rows(folder, split)), items)


def _items(other: Path) -> Iterator[Pieces]:
    if (other / REPORT_FILE).is_file():
        yield from (row_pieces(row) for split in SPLITS for row in read_rows(other, split))
    else:
        yield from (record_pieces(record) for record in read_records(inspect(other)))
