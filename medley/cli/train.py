"""`medley train …`: one subcommand a trainer, its flags made from the trainer's options; or a recipe file."""

from pathlib import Path
from typing import Any

import click

from medley.cli.flags import flags_from, given
from medley.cli.follow import submit
from medley.cli.output import json_option
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


START = {  # what an adapter to start from is, by its role in the lineage
    "init": "Adapter to continue from.",
    "reference": "Adapter to continue from; it is the frozen reference too, in place of the base.",
}
background_option = click.option("--background", is_flag=True, help="Return at once; the job goes on.")


def trainer_command(trainer: Trainer) -> click.Command:
    """The subcommand of one row of the trainers' table."""

    @click.command(trainer.name, help=f"{trainer.goal}: train an adapter on a dataset of the registry.")
    @click.option("--base", help="Base model; the bundled one when not given.")
    @click.option("--data", required=True, help="Dataset in the registry.")
    @click.option("--name", required=True, help="Name of the new adapter.")
    @click.option("--from", "init", help=START[trainer.init_role])
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
        from hub import open_registry
        from medley.jobs import train_spec

        values = {**(preset(preset_name, trainer.name) if preset_name else {}), **given(options)}
        spec = train_spec(open_registry(), trainer.name, base=base, data=data, name=name, init=init, options=values)
        submit(spec, in_background=background, as_json=as_json)

    return command


@train.command("recipe", hidden=True)
@click.argument("path", type=click.Path(path_type=Path))
@background_option
@json_option
def recipe(path: Path, background: bool, as_json: bool) -> None:
    """Run a recipe as it is saved beside every trained adapter."""
    from hub import open_registry
    from medley.jobs import train_recipe_spec

    submit(train_recipe_spec(open_registry(), path), in_background=background, as_json=as_json)


for each in TRAINERS.values():
    train.add_command(trainer_command(each))
