"""Datasets in, clean rows out: formats, detection, splits, the exact tokens and loss mask. No torch, no names.

    from medley.corpus import import_dataset, read_rows
    report = import_dataset(Path("examples/pirate.jsonl"), Path("pirate"))
    rows = read_rows(Path("pirate"), "train")

The tokens live in `medley.corpus.tokens`, the checks of the shipped examples in `medley.corpus.behaviours`.
"""

from medley.corpus.export import export_rows
from medley.corpus.folder import read_rows
from medley.corpus.formats import FORMATS, Format
from medley.corpus.hub_source import import_from_hub
from medley.corpus.importer import import_dataset
from medley.corpus.report import ImportReport, read_report
from medley.corpus.statistics import SplitStatistics, dataset_statistics

__all__ = [
    "FORMATS",
    "Format",
    "ImportReport",
    "SplitStatistics",
    "dataset_statistics",
    "export_rows",
    "import_dataset",
    "import_from_hub",
    "read_report",
    "read_rows",
]
