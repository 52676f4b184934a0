"""What a runner (run_train, run_merge, run_import) is given, and how it learns that it should stop."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.events import Emit
from medley.jobs.job import Job
from medley.jobs.spec import JobSpec

if TYPE_CHECKING:
    from hub import Parent, Registry, Version


class JobStopped(BaseException):
    """The job was asked to stop. Like KeyboardInterrupt no Exception, so that nobody takes it for a failure."""


@dataclass(frozen=True)
class JobWork:
    """One job at work.

    Attributes:
        job, spec: what is to be done.
        registry: where the inputs are and the result goes.
        emit: writes to the job's events.jsonl.
        should_stop: True from the moment that somebody asked the job to stop.
        earlier: the `out` folders of the jobs that this one retries, the newest first.
    """

    job: Job
    spec: JobSpec
    registry: "Registry"
    emit: Emit
    should_stop: Callable[[], bool]
    earlier: tuple[Path, ...] = ()

    @property
    def out_dir(self) -> Path:
        return self.job.out_dir

    def emit_or_stop(self, kind: Any, **fields: Any) -> None:
        """An `emit` for work that does not ask whether to stop: it ends at its next event.

        Raises:
            JobStopped: somebody asked the job to stop.
        """
        if self.should_stop():
            raise JobStopped
        self.emit(kind, **fields)

    def register(
        self,
        kind: str,
        folder: Path,
        *,
        recipe: str,
        facts: Mapping[str, Any],
        base: str | None = None,
        base_revision: str | None = None,
        parents: "Sequence[Parent]" = (),
    ) -> str:
        """The id of the version that the job has made; arguments as for `Registry.publish`.

        Args:
            facts: for the metadata, which also names the job.
        """
        version = self.registry.publish(
            kind,
            self.spec.output_name,
            folder,
            base=base,
            base_revision=base_revision,
            parents=parents,
            recipe=recipe,
            metadata={**facts, "job": self.job.id},
        )
        return version.id

    def input(self, version_id: str) -> "Version":
        """An input version, its files compared with their digests.

        Raises:
            NotFoundError: it was removed since the job was made.
            StorageError: files of it are missing or changed.
        """
        from medley.errors import StorageError

        version = self.registry.get(f"sha256:{version_id}")
        report = self.registry.verify(version.id)
        if report.problems:
            first = report.problems[0]
            raise StorageError(
                f"{version.label} is damaged: {first.path} is {first.what}. "
                f"Run `medley registry verify`, and import or train it again."
            )
        return version
