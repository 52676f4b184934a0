"""`medley …`: the table of commands, loaded only when one is called, and the one place where errors become exit codes.

Exit codes: 0; 1 for what a user can mend (stderr says what and how); 2 for wrong usage; 130 after Ctrl-C and 141 when
the reader of a pipe has left, as the shell has them. Anything unforeseen ends with its traceback.
"""

import importlib
import os
import select
import sys
from collections.abc import Sequence
from typing import NamedTuple

import click

from medley import __version__
from medley.cli.help_text import HelpContext, with_whole_help
from medley.errors import UserError

INTERRUPTED, READER_LEFT = 130, 141  # 128 + SIGINT, 128 + SIGPIPE


class Entry(NamedTuple):
    """Where a command lives and the line that `--help` shows of it, so that help needs no imports."""

    module: str
    attribute: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "app": Entry("medley.cli.serve", "app", "Serve the app in a browser."),
    "demo": Entry("medley.cli.demo", "demo", "The whole loop on the bundled base, in minutes on a CPU."),
    "base": Entry("medley.cli.base", "base", "Base models: list, show, add."),
    "data": Entry("medley.cli.data", "data", "Datasets: list, show, check, import, mix, preview, overlap, export."),
    "adapter": Entry(
        "medley.cli.adapter", "adapter", "Adapters: list, show, import, export, verify, alias, lineage, rm."
    ),
    "model": Entry("medley.cli.model", "model", "Full models: list, show, import, export, verify, alias, lineage, rm."),
    "registry": Entry("medley.cli.registry", "registry", "The registry as a whole: verify, gc, path."),
    "train": Entry("medley.cli.train", "train", "Train an adapter: a trainer and its options, or a recipe file."),
    "score": Entry("medley.cli.score", "score", "Score answers with a reward model or a reward function."),
    "merge": Entry("medley.cli.merge", "merge", "Merge adapters into a new one, or full models by a recipe."),
    "learn-weights": Entry(
        "medley.cli.learn_weights", "learn_weights", "Merge adapters with weights that a dataset chooses."
    ),
    "extract": Entry("medley.cli.extract", "extract", "Make an adapter from the difference of two full models."),
    "convert": Entry("medley.cli.convert", "convert", "Turn an adapter of another kind into a plain LoRA."),
    "fold": Entry("medley.cli.fold", "fold", "Fold an adapter or a blend into its base: a full model."),
    "chat": Entry("medley.cli.chat", "chat", "Talk to one or several adapters."),
    "compare": Entry("medley.cli.compare", "compare", "Answer the same prompts with several adapters, side by side."),
    "compare-types": Entry(
        "medley.cli.compare_types",
        "compare_types",
        "Train several types of adapter on the same rows, and measure them.",
    ),
    "push": Entry("medley.cli.publish", "push", "Publish an adapter, model or dataset on the Hugging Face Hub."),
    "pull": Entry("medley.cli.publish", "pull", "Bring an adapter, model or dataset from the Hugging Face Hub."),
    "job": Entry("medley.cli.job", "job", "Long work: list, show, logs, stop, retry, compare."),
    "doctor": Entry("medley.cli.doctor", "doctor", "Versions, device, disk, home; what is missing and how to get it."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, not when they are listed."""

    context_class = HelpContext

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        return with_whole_help(getattr(importlib.import_module(entry.module), entry.attribute)) if entry else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="medley")
def cli() -> None:
    """Train LoRA adapters, blend them exactly, compare them side by side, publish the best.

    A NAME is a registry name (pirate), one of its versions (pirate:v3), an alias (pirate:production), the start of an
    id (sha256:3f2a9c01), or the path of an adapter folder. An adapter folder called pirate in the current folder comes
    before the name, with a warning; pirate:v1 always means the registry.
    """


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say; the exit code."""
    try:
        with cli.make_context("medley", list(arguments)) as context:
            cli.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except UserError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        if not has_reader_left():
            raise
        return READER_LEFT
    return 0


def has_reader_left() -> bool:
    """True when stdout or stderr is a pipe that nobody reads any more; what is still buffered is then thrown away."""
    has_left = False
    for stream in (sys.stdout, sys.stderr):
        poll = select.poll()
        poll.register(stream, 0)
        if poll.poll(0):  # only errors are asked for
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or Python complains at exit
            has_left = True
    return has_left


if __name__ == "__main__":
    main()
