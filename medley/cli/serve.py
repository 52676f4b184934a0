"""`medley app`: opens the app in a browser."""

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need --auth.")
@click.option("--port", default=7860, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--read-only", is_flag=True, help="No training, deleting or publishing with this machine's rights.")
@click.option("--auth", metavar="USER:PASS", envvar="MEDLEY_AUTH", help="Ask visitors for this name and password.")
@click.option("--no-browser", is_flag=True, help="Do not open a browser window.")
def app(host: str, port: int, read_only: bool, auth: str | None, no_browser: bool) -> None:
    """Open the app: import data, train, merge, compare, publish."""
    from app import launch

    launch(host=host, port=port, read_only=read_only, auth=auth, open_browser=not no_browser)
