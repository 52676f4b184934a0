"""The spec of a comparison of adapter types: base and dataset by id, options and general text written out."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import NotFoundError
from medley.jobs.bases import find_base
from medley.jobs.build import ProblemList, check_output_name
from medley.jobs.device import likely_device
from medley.jobs.spec import JobSpec, plain
from medley.jobs.train_checks import find_measured_data
from medley.options import from_mapping

if TYPE_CHECKING:
    from hub import Registry

GENERAL_TEXT = Path(__file__).resolve().parents[2] / "examples" / "general.txt"


def compare_types_spec(
    registry: "Registry",
    *,
    base: str | None = None,
    data: str,
    name: str,
    general: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> JobSpec:
    """The spec of a comparison.

    Args:
        base: a registered base; None for the default one.
        data: an SFT dataset with an eval split.
        name: the registry name that the report will be a version of.
        general: a text file whose paragraphs forgetting is measured on; None for the one among the examples.
        options: those of `trainers.trial_options.TrialOptions` that are not at their defaults.

    Raises:
        ProblemsError: everything that is wrong.
    """
    from trainers.trial_options import TrialOptions

    problems = ProblemList()
    problems.attempt(check_output_name, registry, name, "report")
    base_version = problems.attempt(find_base, registry, base)
    data_version = problems.attempt(find_measured_data, registry, data, "Types are compared on")
    chosen = problems.attempt(from_mapping, TrialOptions, options or {})
    text = problems.attempt(_general, general)
    problems.report("the comparison")
    params = {
        "base": base_version.id,
        "data": data_version.id,
        "labels": {"base": base_version.label, "data": data_version.label},
        "options": plain(dataclasses.asdict(chosen)),
        "general": text,
        "device": likely_device(chosen.device),
    }
    return JobSpec("compare-types", f"Compare {', '.join(chosen.types)} on {data_version.label}", params, name)


def _general(path: Path | None) -> dict[str, Any]:
    """The general text as the spec keeps it, so that the job needs no file."""
    from trainers.general_texts import read_texts

    path = path or GENERAL_TEXT
    if not path.is_file():
        where = "Name a text file with --general." if path == GENERAL_TEXT else "Check the path."
        raise NotFoundError(f"There is no general text '{path.name}'. {where}")
    texts = read_texts(path)
    digest = hashlib.sha256("\n\n".join(texts).encode()).hexdigest()
    return {"name": path.name, "sha256": digest, "texts": texts}
