"""`medley learn-weights`: merge adapters with weights that a dataset chooses, and say what they are worth."""

from typing import TYPE_CHECKING, Any

import click

from medley.cli.flags import flags_from, given
from medley.cli.follow import background_option, submit
from medley.cli.output import json_option, print_table
from trainers.weight_options import WeightOptions

if TYPE_CHECKING:
    from hub import Version


@click.command("learn-weights")
@click.argument("adapters", metavar="NAME…", nargs=-1, required=True)
@click.option("--data", required=True, help="SFT dataset in the registry, with an eval split.")
@click.option("--name", required=True, help="Name of the merged adapter.")
@click.option("--base", help="Registered base; the one that the adapters name when not given.")
@background_option
@json_option
@flags_from(WeightOptions)
def learn_weights(
    adapters: tuple[str, ...],
    data: str,
    name: str,
    base: str | None,
    background: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Merge adapters by task arithmetic with weights learned from rows; plain weights are measured beside them."""
    from hub import open_registry
    from medley.jobs import learn_weights_spec

    registry = open_registry()
    spec = learn_weights_spec(registry, adapters, data=data, name=name, base=base, options=given(options))
    job = submit(spec, in_background=background, as_json=as_json)
    if not (background or as_json):
        print_weightings(registry.get(f"sha256:{job.result}"))


def print_weightings(version: "Version") -> None:
    """Every weighting that was measured on the eval split."""
    from medley.jobs.weightings import weightings_table

    print_table(*weightings_table(version.metadata["learned_weights"]))
