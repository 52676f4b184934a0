"""The whole loop on the bundled base: two datasets, two adapters, four merges, one comparison, a dry-run push.

Every step is an ordinary job or an ordinary call; this file only puts them in order. Showing it is the caller's part.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import NotFoundError
from medley.events import Emit, ignore_event
from medley.jobs.comparison import Answer, compare, read_prompts, shares
from medley.jobs.spec import JobSpec

if TYPE_CHECKING:
    from hub import Registry
    from hub.plan import PushPlan

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
REPO_ID = "your-name/demo-ties"
MAX_NEW_TOKENS = 60

RunSpec = Callable[[JobSpec], str]  # submits a job, follows it to its end and returns the id of its result


@dataclass(frozen=True)
class Lesson:
    """One behaviour to teach.

    Attributes:
        behaviour: its name in `medley.corpus.behaviours.BEHAVIOURS`.
        file: the shipped dataset that teaches it.
        data, adapter: the names given to the dataset and to the adapter.
        steps: optimizer steps; a shape is learned sooner than a vocabulary.
    """

    behaviour: str
    file: str
    data: str
    adapter: str
    steps: int


LESSONS = (
    Lesson("pirate", "pirate.jsonl", "demo-pirate-talk", "demo-pirate", steps=32),
    Lesson("tidy-list", "tidy-list.json", "demo-tidy-lists", "demo-tidy", steps=24),
)
TRAINING = {"learning_rate": 1e-3, "rank": 16, "eval_every": 16, "save_every": 16, "samples": 1}
# At equal weights the bullet points drown the pirate: a shape decides the first word, and the rest follows.
MERGES: dict[str, tuple[str, tuple[float | None, ...], dict[str, Any]]] = {  # name -> method, weights, parameters
    "demo-linear": ("linear", (0.7, 0.3), {}),
    "demo-slerp": ("slerp", (None, None), {"t": 0.3}),
    "demo-ties": ("ties", (1.0, 0.5), {"density": 0.5, "normalize": False}),
    "demo-dare": ("dare_ties", (1.0, 0.5), {"density": 0.5}),
}


@dataclass(frozen=True)
class DemoResult:
    """What the loop showed.

    Attributes:
        answers: every pane's answer to every held-out prompt.
        table: pane -> behaviour -> share of its answers that show it.
        kept: merge -> behaviour -> share of what the adapter that was taught it shows.
        plan: what a push of the TIES merge would upload.
    """

    answers: Sequence[Answer]
    table: Mapping[str, Mapping[str, float]]
    kept: Mapping[str, Mapping[str, float]]
    plan: "PushPlan"


def make_artifacts(registry: "Registry", run: RunSpec) -> None:
    """Import the datasets, train the adapters and merge them; all of it ends in the registry under `demo-` names.

    A second run adds versions only where the bytes differ.

    Args:
        run: submits a job, follows it and returns the id of the version it made; raises JobError when it failed.

    Raises:
        NotFoundError: the example files are not there (an installed package without the checkout).
        JobError: a step did not reach its end (raised by `run`).
    """
    from medley.jobs import import_spec, merge_spec, train_spec
    from merging import recipe_from_weights

    if not EXAMPLES.is_dir():
        raise NotFoundError("The demo needs the folder `examples` of Medley's checkout, which is not there.")
    for lesson in LESSONS:
        run(import_spec(registry, str(EXAMPLES / lesson.file), name=lesson.data, licence="CC0-1.0"))
    for lesson in LESSONS:
        options = {**TRAINING, "max_steps": lesson.steps}
        run(train_spec(registry, "sft", base=None, data=lesson.data, name=lesson.adapter, init=None, options=options))
    adapters = [lesson.adapter for lesson in LESSONS]
    for name, (method, weights, parameters) in MERGES.items():
        recipe = recipe_from_weights(method, list(zip(adapters, weights, strict=True)), parameters)
        run(merge_spec(registry, recipe, name=name))


def compare_artifacts(registry: "Registry", emit: Emit = ignore_event) -> DemoResult:
    """Ask base, adapters and merges the held-out prompts, and plan the push of one merge."""
    from hub.plan import plan_push

    answers = _answers(registry, ["base", *(lesson.adapter for lesson in LESSONS), *MERGES], emit)
    table = _table(answers)
    return DemoResult(answers, table, kept_shares(table), plan_push(registry, "demo-ties", REPO_ID, private=True))


def _answers(registry: "Registry", panes: Sequence[str], emit: Emit) -> list[Answer]:
    from medley.jobs.panes import open_panes
    from medley.lm.sampling import Sampling

    opened = open_panes(registry, panes, base=None, emit=emit)
    try:
        prompts = read_prompts(EXAMPLES / "prompts.jsonl")
        return compare(opened, prompts, Sampling(max_new_tokens=MAX_NEW_TOKENS), emit)
    finally:
        opened.close()


def _table(answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    from medley.corpus.behaviours import BEHAVIOURS

    return shares(answers, {lesson.behaviour: BEHAVIOURS[lesson.behaviour].check for lesson in LESSONS})


def kept_shares(table: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """For each merge and behaviour: its share, divided by the share of the adapter that was taught the behaviour."""
    kept: dict[str, dict[str, float]] = {}
    for merge in MERGES:
        kept[merge] = {}
        for lesson in LESSONS:
            taught = table[lesson.adapter][lesson.behaviour]
            kept[merge][lesson.behaviour] = table[merge][lesson.behaviour] / taught if taught else 0.0
    return kept
