"""The training form's handlers: what the chosen values mean, as command and recipe, and how a run is started."""

import math
import shlex
from typing import Any

from medley.errors import ParameterError, ProblemsError
from medley.options import Option, describe
from medley.ui import markup
from medley.ui.controls import changed, to_text, to_value
from medley.ui.numbers import count_text
from medley.ui.workspace import Workspace, attempt, shown
from trainers import PRESETS, TRAINERS
from trainers import preset as values_of

GOALS = {name: trainer.goal for name, trainer in TRAINERS.items()}
START = "a fresh adapter"


def fields_of(trainer: str) -> list[Option]:
    """The options in the order of the form: those that matter first."""
    return sorted(describe(TRAINERS[trainer].options_class), key=lambda each: each.is_advanced)


def base_choices(workspace: Workspace) -> list[str]:
    """The registered bases, the default one first; it is registered when it is first asked for."""
    from medley.jobs.artifacts import default_base

    default = attempt(lambda: default_base(workspace.registry).name)[0]
    others = [name for name in workspace.names("base") if name != default]
    return [default, *others] if default else others


def preset_values(trainer: str, preset: str) -> list[Any]:
    """What the option controls show for a preset; what it does not name stands at its default."""
    chosen = values_of(preset, trainer) if preset in PRESETS else {}
    return [to_text(each, chosen.get(each.name, each.default)) for each in fields_of(trainer)]


def read_options(trainer: str, shown_values: tuple[Any, ...]) -> dict[str, Any]:
    """The options that differ from their defaults.

    Raises:
        ProblemsError: every value that is out of range, together.
    """
    values, problems = {}, []
    options = fields_of(trainer)
    for option, value in zip(options, shown_values, strict=True):
        try:
            values[option.name] = to_value(option, value)
        except ParameterError as error:
            problems.append(str(error))
    if problems:
        raise ProblemsError("the settings", problems)
    return changed(options, values)


def recipe(trainer: str, base: str, data: str, name: str, start: str, options: dict[str, Any]) -> dict[str, Any]:
    """The recipe that `medley train RECIPE.yaml` takes."""
    from_adapter = {} if not start or start == START else {"from": start}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    return {"trainer": trainer, "base": base, "data": data, "name": name, **from_adapter, "options": plain}


def command(recipe: dict[str, Any]) -> str:
    """The command line that starts the same run."""
    parts = ["medley", "train", recipe["trainer"]]
    for key in ("base", "data", "name", "from"):
        if recipe.get(key):
            parts += [f"--{key}", str(recipe[key])]
    for key, value in recipe["options"].items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            parts.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            parts += [f"--{flag}", ",".join(value) if isinstance(value, list) else str(value)]
    return shlex.join(parts)


def plan_card(workspace: Workspace, trainer: str, base: str, data: str, name: str, start: str, *values: Any) -> str:
    """What the run will do and cost, and how to start it elsewhere."""

    def draw() -> str:
        options = read_options(trainer, values)
        made = recipe(trainer, base or "", data or "", (name or "").strip() or "NAME", start, options)
        return markup.section("Before you start", shown(lambda: forecast(workspace, made))) + markup.section(
            "The same from a terminal", markup.code_block(command(made), wrap=True) + _yaml(made)
        )

    return shown(draw)


def _yaml(recipe: dict[str, Any]) -> str:
    import yaml

    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
    return f"<details><summary>recipe.yaml</summary>{markup.code_block(text)}</details>"


def forecast(workspace: Workspace, recipe: dict[str, Any]) -> str:
    """Rows, steps and tokens at most, from the dataset's record; a sentence where there is no dataset."""
    if not recipe["data"]:
        text = "A dataset is a file of examples: questions and the answers you want."
        return markup.empty("No dataset yet", text, markup.button_link("data", "Import data"))
    options = {each.name: each.default for each in fields_of(recipe["trainer"])} | recipe["options"]
    splits = workspace.version(recipe["data"], "dataset").metadata.get("splits") or {}
    train_rows, eval_rows = int(splits.get("train", 0)), int(splits.get("eval", 0))
    steps = steps_of(train_rows, options)
    pairs = [
        ("Rows", f"{count_text(train_rows)} to learn from, {count_text(eval_rows)} to measure on"),
        ("Steps", f"{count_text(steps)}, with {options['batch_size'] * options['gradient_accumulation']} rows in each"),
        ("Measured", f"every {options['eval_every']} steps" if options["max_eval_rows"] and eval_rows else "never"),
        ("Saved", f"every {options['save_every']} steps, so that a stopped run can go on"),
    ]
    return markup.facts([(name, markup.escape(text)) for name, text in pairs])


def steps_of(rows: int, options: dict[str, Any]) -> int:
    """Optimizer steps of a run."""
    per_epoch = math.ceil(math.ceil(rows / options["batch_size"]) / options["gradient_accumulation"])
    steps = math.ceil(per_epoch * options["epochs"])
    return min(steps, options["max_steps"]) if options["max_steps"] else steps


def start(
    workspace: Workspace, trainer: str, base: str, data: str, name: str, start: str, *values: Any
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
            init=None if not start or start == START else start,
            options=read_options(trainer, values),
        )
        return workspace.submit(spec).id

    job_id, notice = attempt(submit)
    return (markup.address("train", {"job": job_id}), "") if job_id else ("", notice)
