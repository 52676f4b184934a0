"""What a job is to do, whole and by itself: another machine with the same artifacts could run it.

Names are already resolved to version ids and every option is written out, so that nothing that happens to a name
after submitting changes the job. A spec is plain YAML in `jobs/<id>/spec.yaml` and never holds a token.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from medley.errors import JobError
from medley.jobs.secrets import find_token

KINDS = ("train", "merge", "extract", "convert", "fold", "import", "mix", "compare-types", "learn-weights")
MERGE_LANE = ("merge", "extract", "convert", "fold")  # kinds that read and write whole files of weights


@dataclass(frozen=True)
class JobSpec:
    """One piece of work.

    Attributes:
        kind: a member of KINDS; decides which runner takes it (`runners.RUNNERS`).
        title: one short line for lists: "Train pirate (sft)".
        params: what the runner needs: version ids, options, seed; plain YAML values only. What stands in `warnings` is
            told when the job starts.
        output_name: the registry name that the result will be a version of.
    """

    kind: str
    title: str
    params: Mapping[str, Any] = field(default_factory=dict)
    output_name: str = ""

    @property
    def lane(self) -> str:
        """At most one job of a lane runs at a time: `train:<device>`, `merge` or `light`."""
        if self.kind in ("train", "compare-types", "learn-weights"):
            return f"train:{self.params.get('device', 'cpu')}"
        return "merge" if self.kind in MERGE_LANE else "light"

    def to_yaml(self) -> str:
        """The spec as text.

        Raises:
            JobError: a token stands in it.
        """
        import yaml

        values = asdict(self)
        place = find_token(values)
        if place is not None:
            raise JobError(f"There is an access token in the job's {place}. Pass it by the HF_TOKEN variable instead.")
        return yaml.safe_dump(plain(values), sort_keys=False, width=120)  # ASCII: PyYAML loses some of Unicode's spaces


def plain(value: Any) -> Any:
    """Tuples as lists and mappings as dicts: the only containers that YAML's safe form writes."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value


def parse_spec(text: str) -> JobSpec:
    """The spec written by `JobSpec.to_yaml`.

    Raises:
        JobError: it is not YAML, or not a spec of a kind this version knows.
    """
    import yaml

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise JobError("The job's spec.yaml is not readable YAML; it was changed by hand or damaged.") from error
    known = {each.name for each in fields(JobSpec)}
    if not isinstance(values, dict) or set(values) != known:
        raise JobError(f"A job's spec.yaml has exactly the keys {', '.join(sorted(known))}; this one has others.")
    spec = JobSpec(**values)
    if spec.kind not in KINDS:
        raise JobError(f"There is no kind of job called '{spec.kind}'. Known: {', '.join(KINDS)}.")
    if not isinstance(spec.params, dict):
        raise JobError("A job's params must be a mapping.")
    return spec
