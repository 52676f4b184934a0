"""`medley train …`: one subcommand a trainer, its flags made from the trainer's options; or a recipe file."""

from pathlib import Path
from typing import Any

import click

from medley.cli.flags import FoldedCommand, flags_from, given
from medley.cli.follow import background_option, submit
from medley.cli.output import json_option
from medley.cli.train_plan import presets, show_plan
from trainers import PRESETS, TRAINERS, Trainer, preset
from trainers.adapter_kinds import SHAPING


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
    "init": "Adapter to continue from; it keeps its rank, targets and the like.",
    "reference": "Adapter to continue from, as it is shaped; it is the frozen reference too, in place of the base.",
}
dry_run_option = click.option("--dry-run", is_flag=True, help="Show memory, time and recipe; start nothing.")


def trainer_command(trainer: Trainer) -> click.Command:
    """The subcommand of one row of the trainers' table."""

    kinds = " or ".join(trainer.data_kinds)
    text = f"{trainer.goal}: train an adapter on a dataset of the registry, of kind {kinds}."
    short = f"{trainer.goal}, from {trainer.data_kinds[0]} data."

    @click.command(trainer.name, cls=FoldedCommand, help=text, short_help=short)
    @click.option("--base", help="Base model; the bundled one when not given.")
    @click.option("--data", required=True, help="Dataset in the registry.")
    @click.option("--name", required=True, help="Name of the new adapter.")
    @click.option("--from", "from_adapter", help=START[trainer.init_role])
    @click.option("--preset", "preset_name", type=click.Choice(list(PRESETS)), help="Starting values; flags override.")
    @dry_run_option
    @background_option
    @json_option
    @flags_from(trainer.options_class)
    def command(
        base: str | None,
        data: str,
        name: str,
        from_adapter: str | None,
        preset_name: str | None,
        dry_run: bool,
        background: bool,
        as_json: bool,
        **options: Any,
    ) -> None:
        from hub import open_registry
        from medley.jobs import train_spec

        registry, chosen = open_registry(), given(options)
        values = {**starting_values(trainer, preset_name, chosen.get("adapter", "lora"), from_adapter), **chosen}
        spec = train_spec(registry, trainer.name, base=base, data=data, name=name, init=from_adapter, options=values)
        if dry_run:
            show_plan(registry, spec, as_json=as_json)
        else:
            submit(spec, in_background=background, as_json=as_json)

    return command


def starting_values(
    trainer: Trainer, preset_name: str | None, adapter: str, from_adapter: str | None
) -> dict[str, Any]:
    """What the preset says; an adapter to start from keeps its shape, so that what is said of one is left out then."""
    start = preset(preset_name, trainer.name, adapter) if preset_name else {}
    return {key: value for key, value in start.items() if not (from_adapter and key in SHAPING)}


@train.command("recipe", hidden=True)
@click.argument("path", type=click.Path(path_type=Path))
@dry_run_option
@background_option
@json_option
def recipe(path: Path, dry_run: bool, background: bool, as_json: bool) -> None:
    """Run a recipe as it is saved beside every trained adapter."""
    from hub import open_registry
    from medley.jobs import train_recipe_spec

    registry = open_registry()
    spec = train_recipe_spec(registry, path)
    if dry_run:
        show_plan(registry, spec, as_json=as_json)
    else:
        submit(spec, in_background=background, as_json=as_json)


train.add_command(presets)
for each in TRAINERS.values():
    train.add_command(trainer_command(each))
