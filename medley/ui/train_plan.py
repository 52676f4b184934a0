"""The right column of the training form: what the run will do and need, and how to start it elsewhere."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from medley.ui import markup
from medley.ui.estimate_card import estimate_parts
from medley.ui.numbers import count_text
from medley.ui.train_fields import fields_of, read_options
from medley.ui.workspace import Workspace, attempt, shown

START = "a fresh adapter"


def has_start(start: str | None) -> bool:
    """Whether the form's choice is an adapter to go on from."""
    return bool(start) and start != START


def recipe(trainer: str, base: str, data: str, name: str, start: str, options: dict[str, Any]) -> dict[str, Any]:
    """The recipe that `medley train RECIPE.yaml` takes."""
    from_adapter = {"from": start} if has_start(start) else {}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    return {"trainer": trainer, "base": base, "data": data, "name": name, **from_adapter, "options": plain}


def command(recipe: Mapping[str, Any]) -> str:
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


def plan(
    workspace: Workspace, trainer: str, base: str, data: str, name: str, start: str, values: Sequence[Any]
) -> tuple[str, str]:
    """The card with forecast and command, and the recipe as YAML; a sentence where a setting is wrong."""
    made: dict[str, Any] = {}

    def draw() -> str:
        options = read_options(trainer, values, has_start=has_start(start))
        made.update(recipe(trainer, base or "", data or "", (name or "").strip() or "NAME", start, options))
        return markup.section("Before you start", shown(lambda: forecast(workspace, made))) + markup.section(
            "The same from a terminal", markup.code_block(command(made), wrap=True)
        )

    return shown(draw), _yaml(made) if made else ""


def _yaml(recipe: dict[str, Any]) -> str:
    import yaml

    return markup.code_block(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))


def forecast(workspace: Workspace, recipe: dict[str, Any]) -> str:
    """What the run will need, and how often it is measured and saved; a sentence where there is no dataset."""
    if not recipe["data"]:
        return '<p class="m-quiet">Choose a dataset, and what the run will need stands here.</p>'
    options = {each.name: each.default for each in fields_of(recipe["trainer"])} | recipe["options"]
    splits = workspace.version(recipe["data"], "dataset").metadata.get("splits") or {}
    train_rows, eval_rows = int(splits.get("train", 0)), int(splits.get("eval", 0))
    pairs = [("Rows", f"{count_text(train_rows)} to learn from, {count_text(eval_rows)} to measure on")]
    unit = "updates" if "updates" in options else "steps"
    if "eval_every" in options:
        is_measured = options.get("max_eval_rows", 1) and eval_rows
        pairs.append(("Measured", f"every {options['eval_every']} {unit}" if is_measured else "never"))
    if "save_every" in options:
        pairs.append(("Saved", f"every {options['save_every']} {unit}, so that a stopped run can go on"))
    needs, problem = attempt(lambda: estimate_parts(workspace, recipe))
    bar, length = needs or (problem, [])
    return bar + markup.facts([*length, *((name, markup.escape(text)) for name, text in pairs)])
