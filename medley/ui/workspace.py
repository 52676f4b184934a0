"""What every page works on: the home folder, whether anything may be changed, and the engines that answer.

No page keeps a version or a job in memory between two events: rows are read again each time and event files are read
on, so that any number of tabs, the command line and the workers always see the same. Also here: how an error becomes a
sentence.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import gradio as gr

from hub import Registry, Version, open_registry
from medley.errors import NotFoundError, ReadOnlyError, UserError
from medley.ui import markup
from medley.ui.run_view import RunShelf

if TYPE_CHECKING:
    from medley.jobs import Job, Jobs, JobSpec
    from medley.jobs.panes import EnginePool
    from medley.jobs.scorers import ScorerPool

log = logging.getLogger("medley.ui")
Result = TypeVar("Result")
MAX_LISTED = 500  # names offered by a choice; the registry page pages through all


@dataclass(frozen=True)
class Workspace:
    """The home folder that the app shows (None: the user's own), whether it may be changed, and which Hub it knows."""

    home: Path | None = None
    is_read_only: bool = False
    hub_endpoint: str | None = None

    @cached_property
    def registry(self) -> Registry:
        """The registry; it holds a connection per thread and no rows."""
        return open_registry(self.home)

    @cached_property
    def jobs(self) -> "Jobs":
        """The table of jobs; every look at it settles those whose worker is gone."""
        from medley.jobs import open_jobs

        return open_jobs(self.home)

    @cached_property
    def runs(self) -> RunShelf:
        """What the jobs' event files say, read on from where they were read last."""
        return RunShelf()

    @cached_property
    def engines(self) -> "EnginePool":
        """The one engine in memory, shared by every tab."""
        from medley.jobs.panes import EnginePool

        return EnginePool(self.jobs)

    @cached_property
    def scorers(self) -> "ScorerPool":
        """The one reward model in memory that scores answers, shared by every tab."""
        from medley.jobs.scorers import ScorerPool

        return ScorerPool(may_open_paths=False)

    def submit(self, spec: "JobSpec") -> "Job":
        """Queue a job; before a training on the GPU, what was loaded there for comparing is given up."""
        if spec.lane == "train:cuda":
            self.engines.make_room()
        return self.jobs.submit(spec)

    def retry(self, job_id: str) -> "Job":
        """A new job that goes on from the last checkpoint of this one."""
        if self.jobs.get(job_id).lane == "train:cuda":
            self.engines.make_room()
        return self.jobs.retry(job_id)

    def check_writable(self, what: str) -> None:
        """Refuse what a visitor of a public Space must not do; hiding a button is not enough, events can be sent.

        Raises:
            ReadOnlyError: always, when the app is read-only.
        """
        if self.is_read_only:
            raise ReadOnlyError(f"{what} is switched off here: this app is read-only. Run Medley on your own machine.")

    def names(self, kind: str, *, data_kinds: Sequence[str] = ()) -> list[str]:
        """The names of a kind, the newest first; of datasets only those of these kinds of data, if any are given."""
        listed = self.registry.list(kind, limit=MAX_LISTED)
        return [
            each.name for each in listed if not data_kinds or each.metadata.get("kind", data_kinds[0]) in data_kinds
        ]

    def bases(self) -> list[str]:
        """The names of what adapters can stand on: bases, then models that were merged or folded here."""
        return [*self.names("base"), *self.names("model")]

    def base(self, reference: str | None) -> Version:
        """The base, or the model of our own, that a name means; only names, as in `version`."""
        try:
            return self.version(reference, "model")
        except NotFoundError:
            return self.version(reference, "base")

    def adapters(self, *, is_reward: bool) -> list[str]:
        """The names of the reward models, or of the adapters that write; the newest first."""
        listed = self.registry.list("adapter", limit=MAX_LISTED)
        return [each.name for each in listed if (each.metadata.get("adapter_kind") == "reward") == is_reward]

    def version(self, reference: str | None, kind: str | None = None) -> Version:
        """The version a name means. Only names: a path that somebody typed is never opened.

        Raises:
            NotFoundError, InvalidNameError: nothing is chosen, or there is no such name.
        """
        if not reference:
            article = "an" if kind == "adapter" else "a"
            raise NotFoundError(f"Choose {f'{article} {kind}' if kind else 'one'} first.")
        return self.registry.get(reference, kind)


def attempt(action: Callable[[], Result]) -> tuple[Result | None, str]:
    """What the action returned and no notice, or None and the sentence about what went wrong, as HTML."""
    try:
        return action(), ""
    except UserError as error:
        return None, markup.notice("bad", str(error))
    except Exception as error:  # the edge: a bug of ours must not leave the page without a word
        log.exception("A page's handler failed")
        text = f"Something went wrong inside Medley ({type(error).__name__}). The details are in the app's terminal."
        return None, markup.notice("bad", text)


def shown(action: Callable[[], str]) -> str:
    """The HTML that the action makes, or the sentence why there is none: one broken part leaves the rest whole."""
    html, notice = attempt(action)
    return notice if html is None else html


def query_value(request: gr.Request | None, name: str) -> str:
    """One value of the page's address, or an empty text."""
    values: Any = getattr(request, "query_params", None) or {}
    return str(values.get(name, "") or "").strip()[:400]
