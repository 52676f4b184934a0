"""Datasets in, clean rows out: formats, detection, splits, the exact tokens and loss mask. No torch, no names.

    from medley.corpus import import_dataset, read_rows
    report = import_dataset(Path("examples/pirate.jsonl"), Path("pirate"))
    rows = read_rows(Path("pirate"), "train")

The tokens live in `medley.corpus.tokens`, the checks of the shipped examples in `medley.corpus.behaviours`.
"""

from medley.corpus.folder import read_rows
from medley.corpus.formats import FORMATS, Format
from medley.corpus.importer import import_dataset
from medley.corpus.report import ImportReport, read_report

__all__ = ["FORMATS", "Format", "ImportReport", "import_dataset", "read_report", "read_rows"]
