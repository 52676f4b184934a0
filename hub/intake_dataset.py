"""A dataset that Medley wrote, back in: the folder's rows are checked by whoever knows their formats.

Here it is known which files a dataset has and whose content they are; what a row may be medley/corpus knows, which
hands its two functions in as a `RowsReader`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.intake_model import Checked, settle_manifest
from hub.kind_lists import DATASET_REPORT, DATASET_SPLITS
from hub.side_files import check_side_files
from medley.errors import AdapterFormatError
from medley.lm.adapter_file import read_json_object

MAX_REPORT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class RowsReader:
    """What a pull needs of what knows rows.

    Attributes:
        check: the metadata of a dataset folder; raises DatasetError for one that no import could have written.
        fetch: imports rows that somebody else published: (repo id, commit, folder to be made) to (recipe, metadata).
    """

    check: Callable[[Path], Mapping[str, Any]]
    fetch: Callable[[str, str, Path], tuple[str, Mapping[str, Any]]]


def check_dataset(folder: Path, rows: RowsReader) -> Checked:
    """The dataset in a folder of private copies; the card is taken away, for it is written anew at every push.

    Raises:
        AdapterFormatError, DatasetError: everything that is wrong with it.
    """
    files = {path.name: path for path in folder.iterdir()}
    check_side_files(files)
    missing = [name for name in (DATASET_REPORT, *DATASET_SPLITS) if name not in files]
    if missing:
        raise AdapterFormatError(f"{folder.name} is not a dataset that Medley wrote: {' and '.join(missing)} missing.")
    read_json_object(folder / DATASET_REPORT, MAX_REPORT_BYTES)
    if "README.md" in files:
        files["README.md"].unlink()
    return settle_manifest(folder, "dataset", rows.check(folder), ())
