"""`medley app`: serves the app on this machine until Ctrl-C."""

import click


@click.command()
@click.option("--host", default="127.0.0.1", help="Address to listen on; others than 127.0.0.1 need --auth.")
@click.option("--port", default=7860, type=click.IntRange(1, 65535), help="Port to listen on. Default 7860.")
@click.option("--read-only", is_flag=True, help="No training, deleting or publishing with this machine's rights.")
@click.option(
    "--auth", metavar="USER:PASS", envvar="MEDLEY_AUTH", help="Ask visitors for these; or set MEDLEY_AUTH to them."
)
def app(host: str, port: int, read_only: bool, auth: str | None) -> None:
    """Serve the app: import data, train, merge, compare, publish."""
    from app import main

    main(host=host, port=port, read_only=read_only, auth=auth)
