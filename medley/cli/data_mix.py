"""`medley data mix`: several datasets as one."""

import click

from medley.cli.follow import background_option, submit
from medley.cli.output import json_option


@click.command()
@click.argument("sources", metavar="NAME=WEIGHT…", nargs=-1, required=True)
@click.option("--name", required=True, help="Name of the mixture in the registry.")
@click.option("--replay", multiple=True, metavar="NAME=SHARE", help="Share of all rows, against forgetting.")
@click.option("--rows", type=click.IntRange(min=1), help="Train rows; as many as the shares allow when not given.")
@click.option("--seed", default=0, help="Decides which rows are drawn. Default 0.")
@background_option
@json_option
def mix(
    sources: tuple[str, ...], name: str, replay: tuple[str, ...], rows: int | None, seed: int, background: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Mix datasets of one kind by weight; no row is drawn twice, and no eval row gets into train."""
    from hub import open_registry
    from medley.jobs import mix_spec, parse_shares

    spec = mix_spec(
        open_registry(),
        parse_shares(" ".join(sources)),
        name=name,
        replay=parse_shares(" ".join(replay), what="share"),
        rows=rows,
        seed=seed,
    )
    submit(spec, in_background=background, as_json=as_json)
