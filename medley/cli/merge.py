"""`medley merge`: a recipe file, or a method with NAME=WEIGHT inputs; with --dry-run only what is known before it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medley.cli.dry_run import dry_run_option
from medley.cli.flags import given
from medley.cli.follow import background_option, submit
from medley.cli.merge_flags import MergeCommand, method_flags
from medley.cli.merge_plan import show_plan
from medley.cli.output import json_option
from medley.errors import ParameterError
from merging import METHODS
from merging.guidance import DEFAULT_METHOD
from merging.method import SPACES

if TYPE_CHECKING:
    from merging import Recipe

KEYS = ("space", "rank", "seed", "variant", "dtype")
WHOLE = 0.9995  # what is shown as 100.0 %


@click.command(cls=MergeCommand)
@click.argument("inputs", metavar="RECIPE.yaml | NAME[=WEIGHT]…", nargs=-1, required=True)
@click.option("--name", help="Name of the result; by default that of the recipe file.")
@click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    metavar="METHOD",
    help=f"One of those below; not with a recipe file. Default {DEFAULT_METHOD}.",
)
@click.option(
    "--space", type=click.Choice(SPACES), help="Where deltas are looked at; compressed needs --rank. Default core."
)
@click.option("--rank", help="Rank of the result: auto, exact, a whole number, or energy:0.99. Default auto.")
@click.option("--seed", type=int, help="Seed of the methods that draw at random. Default 0.")
@click.option(
    "--variant", type=click.Choice(["mergekit", "paper"]), help="Whose rule, where they differ. Default mergekit."
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    help="Number type of the result; the widest of the inputs when not given.",
)
@dry_run_option
@background_option
@json_option
@method_flags
def merge(
    inputs: tuple[str, ...],
    name: str | None,
    method: str | None,
    dry_run: bool,
    background: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Merge adapters into a new one, without loading their base; or do what a recipe file says, of full models too.

    RECIPE.yaml is in mergekit's form and may hold several documents. Recipes of full models run on mergekit and make
    a version of kind model, and so does a recipe of adapters with `output: model`.

    For slerp, `a=w1 b=w2` means t = w2/(w1+w2). A weight that is not given is 1/n for linear and 1 elsewhere.
    """
    from hub import open_registry
    from medley.jobs import merge_spec, plan_merge

    recipe = read_inputs(inputs, method, settings)
    registry = open_registry()
    if dry_run:
        show_plan(plan_merge(registry, recipe), as_json=as_json)
        return
    if name is None:
        if not is_recipe(inputs):
            raise click.UsageError("Missing option '--name'.")
        name = Path(inputs[0]).stem
    job = submit(merge_spec(registry, recipe, name=name), in_background=background, as_json=as_json)
    if not (background or as_json):
        show_loss(registry.get(f"sha256:{job.result}").metadata.get("metrics", {}))


def show_loss(metrics: Mapping[str, float]) -> None:
    """What a cut has cost, where there was one; a full model that mergekit made has no such numbers.

    A rule in space compressed has no error of its own: what its space does not hold is left out before it.
    """
    if metrics.get("energy_kept", 1.0) < WHOLE:
        error = f", error {metrics['error']:.1%}" if metrics["error"] > 1 - WHOLE else ""
        click.echo(f"Energy kept {metrics['energy_kept']:.1%}{error}.")


def is_recipe(inputs: tuple[str, ...]) -> bool:
    """Whether the arguments are a recipe file, rather than adapters."""
    return len(inputs) == 1 and Path(inputs[0]).suffix in {".yaml", ".yml"}


def read_inputs(inputs: tuple[str, ...], method: str | None, settings: dict[str, Any]) -> "Path | Recipe":
    """The recipe's file, or the recipe that the arguments describe."""
    from merging import recipe_from_weights

    if is_recipe(inputs):
        if method or given(settings):
            raise click.UsageError("A recipe file says everything itself; leave the other flags out.")
        return Path(inputs[0])
    parameters = {key: value for key, value in settings.items() if key not in KEYS}
    keys = {key: settings[key] for key in KEYS}
    return recipe_from_weights(method or DEFAULT_METHOD, [parse_input(text) for text in inputs], parameters, **keys)


def parse_input(text: str) -> tuple[str, float | None]:
    """`pirate:v3=0.4` as ("pirate:v3", 0.4); without a weight None.

    Raises:
        ParameterError: what follows the equals sign is no number.
    """
    ref, equals, weight = text.rpartition("=")
    if not equals:
        return text, None
    try:
        return ref, float(weight)
    except ValueError as error:
        raise ParameterError(f"The weight of '{ref}' must be a number, got '{weight}'.") from error
