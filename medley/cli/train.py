"""`medley train …`: one subcommand a trainer, its flags made from the trainer's options; or a recipe file."""

from pathlib import Path
from typing import Any

import click

from medley.cli.flags import flags_from, given
from medley.cli.follow import run_job
from medley.cli.output import json_option
from medley.errors import RecipeError
from trainers import PRESETS, TRAINERS, Trainer, preset


class TrainGroup(click.Group):
    """Lets a recipe file stand where a trainer's name would."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and Path(args[0]).suffix in {".yaml", ".yml"}:
            return "recipe", self.commands["recipe"], args
        return super().resolve_command(ctx, args)


@click.group(cls=TrainGroup)
def train() -> None:
    """Train an adapter: a trainer and its options, or `medley train RECIPE.yaml`."""


background_option = click.option("--background", is_flag=True, help="Return at once; the job goes on.")


def trainer_command(trainer: Trainer) -> click.Command:
    """The subcommand of one row of the trainers' table."""

    @click.command(trainer.name, help=f"{trainer.goal}: train an adapter on a dataset of the registry.")
    @click.option("--base", help="Base model; the bundled one when not given.")
    @click.option("--data", required=True, help="Dataset in the registry.")
    @click.option("--name", required=True, help="Name of the new adapter.")
    @click.option("--from", "init", help="Adapter to continue from.")
    @click.option("--preset", "preset_name", type=click.Choice(list(PRESETS)), help="Starting values; flags override.")
    @background_option
    @json_option
    @flags_from(trainer.options_class)
    def command(
        base: str | None,
        data: str,
        name: str,
        init: str | None,
        preset_name: str | None,
        background: bool,
        as_json: bool,
        **options: Any,
    ) -> None:
        values = {**(preset(preset_name) if preset_name else {}), **given(options)}
        _submit(trainer.name, base, data, name, init, values, in_background=background, as_json=as_json)

    return command


@train.command("recipe", hidden=True)
@click.argument("path", type=click.Path(path_type=Path))
@background_option
@json_option
def recipe(path: Path, background: bool, as_json: bool) -> None:
    """Run a recipe as it is saved beside every trained adapter."""
    settings = read_train_recipe(path)
    _submit(
        settings["trainer"],
        settings.get("base"),
        settings["data"],
        settings["name"],
        settings.get("from"),
        settings.get("options") or {},
        in_background=background,
        as_json=as_json,
    )


def read_train_recipe(path: Path) -> dict[str, Any]:
    """A training recipe: trainer, data and name are needed; base, from and options are not.

    Raises:
        RecipeError: not readable, not YAML, or a key missing or unknown.
    """
    import yaml

    from medley.options import unknown_key

    known = ("trainer", "base", "data", "name", "from", "options")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path.name} cannot be read as a YAML recipe: {str(error).splitlines()[0]}.") from error
    if not isinstance(settings, dict):
        raise RecipeError(f"{path.name} is not a training recipe. It needs the keys trainer, data and name.")
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise RecipeError(f"{path.name}: {unknown_key(str(unknown[0]), known)}")
    missing = [key for key in ("trainer", "data", "name") if not settings.get(key)]
    if missing:
        raise RecipeError(f"{path.name} lacks {', '.join(missing)}.")
    if settings["trainer"] not in TRAINERS:
        raise RecipeError(f"There is no trainer '{settings['trainer']}'. Known: {', '.join(TRAINERS)}.")
    return settings


def _submit(
    trainer: str,
    base: str | None,
    data: str,
    name: str,
    init: str | None,
    options: dict[str, Any],
    *,
    in_background: bool,
    as_json: bool,
) -> None:
    from hub import open_registry
    from medley.jobs import open_jobs, train_spec

    spec = train_spec(open_registry(), trainer, base=base, data=data, name=name, init=init, options=options)
    jobs = open_jobs()
    run_job(jobs, jobs.submit(spec), in_background=in_background, as_json=as_json)


for each in TRAINERS.values():
    train.add_command(trainer_command(each))
