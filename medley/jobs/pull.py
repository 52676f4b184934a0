"""A pull with everything that it may need: medley/corpus reads rows, and a model's facts are those of every job."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.events import Emit, ignore_event

if TYPE_CHECKING:
    from hub import Registry, Version


def pull(
    registry: "Registry",
    repo_id: str,
    name: str,
    *,
    kind: str | None = None,
    revision: str | None = None,
    token: str | bool | None = False,
    base: str | None = None,
    base_revision: str | None = None,
    endpoint: str | None = None,
    emit: Emit = ignore_event,
) -> "Version":
    """The version that now holds what a Hub repo has: an adapter, a full model or a dataset; see `hub.pull.pull`.

    A dataset that Medley published comes back as it was; the rows of any other are imported, as by
    `medley data import`.
    """
    from hub.intake_dataset import RowsReader
    from hub.pull import pull as pull_version
    from medley.jobs.model_facts import model_facts

    def fetch(repo: str, commit: str, out_dir: Path) -> tuple[str, Mapping[str, Any]]:
        return import_rows(repo, commit, out_dir, token=token, endpoint=endpoint, emit=emit)

    return pull_version(
        registry,
        repo_id,
        name,
        kind=kind,
        revision=revision,
        token=token,
        base=base,
        base_revision=base_revision,
        rows=RowsReader(check_rows, fetch),
        describe=model_facts,
        endpoint=endpoint,
        emit=emit,
    )


def check_rows(folder: Path) -> Mapping[str, Any]:
    """The metadata of a dataset folder that is as an import writes it.

    Raises:
        NotFoundError, DatasetError: it is not.
    """
    from medley.corpus.folder_check import check_dataset_folder

    return check_dataset_folder(folder).facts()


def import_rows(
    repo_id: str, commit: str, out_dir: Path, *, token: str | bool | None, endpoint: str | None, emit: Emit
) -> tuple[str, Mapping[str, Any]]:
    """The recipe and the metadata of the rows of a Hub dataset, imported into the new folder `out_dir`."""
    import yaml

    from medley.corpus import import_from_hub

    report = import_from_hub(repo_id, out_dir, revision=commit, token=token, endpoint=endpoint, emit=emit)
    recipe = {"import": {"hub_id": repo_id, "split": None, "revision": commit}}
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120), report.facts()
