"""The spec of a dataset import: a file on this machine or a dataset on the Hub."""

import dataclasses
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import NotFoundError, ParameterError
from medley.jobs.bases import HUB_ID, local_path, looks_like_path
from medley.jobs.build import ProblemList, check_output_name
from medley.jobs.spec import JobSpec

if TYPE_CHECKING:
    from hub import Registry

SUFFIX = re.compile(r"\.(jsonl?|ndjson|csv|tsv|txt|parquet)(\.gz)?$", re.IGNORECASE)


def import_spec(
    registry: "Registry",
    source: str | Path,
    *,
    name: str,
    format: str = "auto",
    split: str | None = None,
    revision: str | None = None,
    eval_share: float = 0.1,
    seed: int = 0,
    turns: str = "all",
    licence: str | None = None,
    max_rows: int | None = None,
    provenance: str | None = None,
) -> JobSpec:
    """The spec of an import.

    Args:
        source: a data file (`medley.corpus.sources.KINDS`), or a dataset's Hub id; a file that exists is taken first.
        name: the registry name that the dataset will be a version of.
        format: a name in `medley.corpus.FORMATS`, or auto.
        split, revision: of a Hub dataset.
        eval_share: share of the prompts kept for measuring, in [0, 1).
        seed: decides which.
        turns: train on all assistant turns of a conversation, or on the last one.
        licence: of the rows.
        max_rows: at most so many.
        provenance: who wrote the answers: human, generated or mixed; None is unknown.

    Raises:
        ProblemsError: everything that is wrong.
    """
    from medley.corpus.importer import ImportSettings

    settings = ImportSettings(format, eval_share, seed, turns, licence, max_rows, provenance)
    problems = ProblemList()
    problems.attempt(check_output_name, registry, name, "dataset")
    origin = problems.attempt(_origin, str(source), split, revision)
    problems.attempt(settings.check)
    problems.report("the import")
    label = Path(origin["path"]).name if "path" in origin else origin["hub_id"]
    return JobSpec(
        "import", f"Import {name} from {label}", {"source": origin, "settings": dataclasses.asdict(settings)}, name
    )


def _origin(source: str, split: str | None, revision: str | None) -> dict[str, Any]:
    path = local_path(source)
    if os.path.isfile(path):
        if split or revision:
            raise ParameterError("A file has no split or revision; those are for datasets on the Hub. Leave them out.")
        return {"path": str(path)}
    if os.path.isdir(path):
        raise ParameterError(f"{source[:200]!a} is a folder. Name one of the files in it.")
    if looks_like_path(source) or SUFFIX.search(source) or not HUB_ID.fullmatch(source):
        raise NotFoundError(f"There is no file {source[:200]!a}, and it is no Hub id (org/name) either.")
    return {"hub_id": source, "split": split, "revision": revision}
