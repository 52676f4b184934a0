"""The training form's handlers: goals and trainers, what can be chosen for them, and how a run is started."""

from collections.abc import Sequence
from typing import Any

from medley.errors import ParameterError
from medley.ui import markup
from medley.ui.train_fields import read_options
from medley.ui.train_plan import START, has_start
from medley.ui.workspace import Workspace, attempt
from trainers import TRAINERS

DATA_WORDS = {  # a kind of dataset: its name, and what is in it
    "sft": ("examples", "questions with the answers you want"),
    "preference": ("preference pairs", "a prompt with a better and a worse answer each"),
    "unpaired": ("judged answers", "thumbs up or down for each"),
    "prompts": ("prompts", "questions without answers"),
}
START_WORDS = {
    "init": ("Start from", "Nothing, or an adapter to go on from."),
    "reference": ("Reference policy, and start", "What it is held to; without one, the base."),
}


def goals() -> list[str]:
    """What a person can want, in the order of the trainers' table."""
    return list(dict.fromkeys(trainer.goal for trainer in TRAINERS.values()))


def trainers_of(goal: str) -> list[str]:
    """The trainers that reach a goal, the usual one first."""
    return [name for name, trainer in TRAINERS.items() if trainer.goal == goal]


def trainer_note(trainer: str) -> str:
    """What the trainer does and learns from, in its options class's own words."""
    doc = (TRAINERS[trainer].options_class.__doc__ or "").strip()
    what = " ".join(doc.split("\n\n")[0].split())
    return f'<p class="m-quiet">{markup.escape(what)} Learns from {markup.escape(_data_words(trainer))}.</p>'


def _data_words(trainer: str) -> str:
    first, *others = TRAINERS[trainer].data_kinds
    name, what = DATA_WORDS[first]
    also = f"; also takes {', '.join(DATA_WORDS[kind][0] for kind in others)}" if others else ""
    return f"{name} ({what}){also}"


def data_note(trainer: str, datasets: Sequence[str]) -> str:
    """Where there is no dataset that the trainer could learn from: what is missing, and the way to it."""
    if datasets:
        return ""
    text = f"It takes {_data_words(trainer)}."
    return markup.empty("No dataset for this yet", text, markup.button_link("data", "Import data"))


def base_choices(workspace: Workspace) -> list[str]:
    """The registered bases, the default one first; it is registered when it is first asked for."""
    from medley.jobs.artifacts import default_base

    default = attempt(lambda: default_base(workspace.registry).name)[0]
    others = [name for name in workspace.bases() if name != default]
    return [default, *others] if default else others


def base_under(workspace: Workspace, *adapters: str) -> str | None:
    """The base of the first of these adapters that is known, so that a link to the form needs not name it."""
    from medley.jobs import base_of

    for name in adapters:
        found = attempt(lambda name=name: base_of(workspace.registry, workspace.version(name, "adapter")).name)[0]
        if found:
            return found
    return None


def data_choices(workspace: Workspace, trainer: str) -> list[str]:
    """The datasets that the trainer can learn from, those of the kind it is made for first."""
    return [name for kind in TRAINERS[trainer].data_kinds for name in workspace.names("dataset", data_kinds=(kind,))]


def chosen_data(datasets: Sequence[str], wanted: str | None) -> str | None:
    """The wanted dataset (a name, with or without a version) if the trainer can take it, else the first one."""
    known = bool(wanted) and wanted.partition(":")[0] in datasets
    return wanted if known else next(iter(datasets), None)


def wanted_trainer(workspace: Workspace, trainer: str, data: str) -> str:
    """The named trainer; else the first one that can learn from the named dataset; else the first of the table."""
    if trainer in TRAINERS:
        return trainer
    version = attempt(lambda: workspace.version(data, "dataset"))[0] if data else None
    kind = version.metadata.get("kind") if version else None
    return next((name for name, row in TRAINERS.items() if kind in row.data_kinds), next(iter(TRAINERS)))


def start_choices(workspace: Workspace) -> list[str]:
    """Nothing, or an adapter that writes; a reward model is no policy to go on from."""
    return [START, *workspace.adapters(is_reward=False)]


def start(
    workspace: Workspace, trainer: str, base: str, data: str, name: str, start: str, values: Sequence[Any]
) -> tuple[str, str]:
    """Queue the run: the address of its page, or an empty one and the sentence about what is wrong."""

    def submit() -> str:
        from medley.jobs import train_spec

        workspace.check_writable("Training")
        if not data:
            raise ParameterError("Choose a dataset to learn from. There is none yet: import one on the Data page.")
        if not (name or "").strip():
            raise ParameterError("Give the adapter a name, for example 'pirate'.")
        spec = train_spec(
            workspace.registry,
            trainer,
            base=base,
            data=data,
            name=name.strip(),
            init=start if has_start(start) else None,
            options=read_options(trainer, values, has_start=has_start(start)),
        )
        return workspace.submit(spec).id

    job_id, notice = attempt(submit)
    return (markup.address("train", {"job": job_id}), "") if job_id else ("", notice)
