"""A dataset from the Hugging Face Hub: data files of one commit, fetched, compared with the Hub's digests, imported.

Only files that hold rows are downloaded, never code, and no setting in the repo is followed. Nothing is kept of a
token, and without one the request is anonymous.
"""

import contextlib
import fnmatch
import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.corpus.importer import ImportSettings, import_files
from medley.corpus.report import ImportReport
from medley.corpus.sources import CHUNK_BYTES, MAX_FILE_BYTES, inspect, kind_of
from medley.errors import DatasetError, HubError
from medley.events import Emit, ignore_event

if TYPE_CHECKING:
    from huggingface_hub import HfApi, RepoFile

NOT_ROWS = {"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "croissant.json"}
SHARD = re.compile(r"-\d{3,}-of-\d{3,}(-[0-9a-f]+)?$")
KIND_ORDER = ("parquet", "json", "csv", "tsv")  # when the same rows are there in several forms
SHOWN_FILES = 8


def import_from_hub(
    repo_id: str,
    out_dir: Path,
    *,
    revision: str | None = None,
    split: str | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    format: str = "auto",
    eval_share: float = 0.1,
    seed: int = 0,
    turns: str = "all",
    licence: str | None = None,
    max_rows: int | None = None,
    provenance: str | None = None,
    emit: Emit = ignore_event,
) -> ImportReport:
    """As `import_dataset`, for a dataset on the Hub; the report's source is `repo_id@commit`.

    Args:
        repo_id: "owner/name".
        revision: a branch, tag or commit; the default branch otherwise. It is resolved to a commit first.
        split: the word in the file names ("train", "test_sft"), a file's path, or a pattern such as "en/*.parquet".
            Without it the train split is taken, or the only file there is.
        token: for private and gated repos; without one the request is anonymous.
        licence: taken from the dataset's card when not given.

    Raises:
        HubError: the Hub refuses, is out of reach, or sends other bytes than it lists.
        DatasetError: no such split, or as `import_dataset`. Nothing is written then.
    """
    from huggingface_hub import HfApi

    settings = ImportSettings(format, eval_share, seed, turns, licence, max_rows, provenance)
    settings.check()
    api = HfApi(endpoint=endpoint, token=token or False, library_name="medley")
    with tempfile.TemporaryDirectory(prefix="medley-data-") as temporary:
        with _hub_errors(repo_id, revision, api):
            info = api.dataset_info(repo_id, revision=revision)
            tree = api.list_repo_tree(repo_id, repo_type="dataset", revision=info.sha, recursive=True)
            files = [entry for entry in tree if hasattr(entry, "blob_id") and _holds_rows(entry.path)]
        chosen = choose_files([file.path for file in files], split, repo_id)
        wanted = [file for file in files if file.path in chosen]
        _check_size(wanted, repo_id)
        with _hub_errors(repo_id, revision, api):
            paths = [_download(api, repo_id, file, info.sha, Path(temporary), emit) for file in wanted]
        settings = replace(settings, licence=licence or _licence(info))
        sources = [inspect(path) for path in paths]
        return import_files(sources, out_dir, settings, label=f"{repo_id}@{info.sha}", emit=emit)


def _holds_rows(path: str) -> bool:
    parts = path.split("/")
    is_hidden = any(part.startswith(".") for part in parts)
    return kind_of(path)[0] in KIND_ORDER and parts[-1] not in NOT_ROWS and not is_hidden


def choose_files(paths: Sequence[str], split: str | None, repo_id: str) -> list[str]:
    """The files of one split, in order.

    Raises:
        DatasetError: there are none, or several splits fit and only a person can say which is meant.
    """
    matching = [path for path in sorted(paths) if split and fnmatch.fnmatchcase(path, split)]  # a path matches itself
    if matching:
        return matching
    groups: dict[str, dict[str, list[str]]] = {}  # "data/train" -> kind -> its files
    for path in sorted(paths):
        if split is None or _names_split(path, split):
            groups.setdefault(_stem(path), {}).setdefault(str(kind_of(path)[0]), []).append(path)
    if split is None and len(groups) > 1:
        groups = {stem: kinds for stem, kinds in groups.items() if _names_split(stem, "train")} or groups
    elif split and len(groups) > 1 and any(stem.split("/")[-1] == split for stem in groups):
        groups = {stem: kinds for stem, kinds in groups.items() if stem.split("/")[-1] == split}
    if len(groups) == 1:
        kinds = next(iter(groups.values()))
        return next(kinds[kind] for kind in KIND_ORDER if kind in kinds)
    shown = ", ".join(sorted(groups or {_stem(path): {} for path in paths})[:SHOWN_FILES])
    if not paths:
        raise DatasetError(f"{repo_id} has no .json, .jsonl, .csv or .parquet files.")
    if not groups:
        raise DatasetError(f"{repo_id} has no split '{split}'. It has: {shown}.")
    raise DatasetError(f"{repo_id} has several sets of rows: {shown}. Name one of them as the split.")


def _stem(path: str) -> str:
    """A path without its endings and shard number: the same for all files of one split."""
    folder, _, name = path.rpartition("/")
    while kind_of(name)[0] or name.endswith(".gz"):
        name = name.rpartition(".")[0]
    return "/".join(part for part in (folder, SHARD.sub("", name)) if part)


def _names_split(path: str, split: str) -> bool:
    """True when the words of the split stand in the path, in order and next to each other."""
    words, wanted = ([word for word in re.split(r"[^a-z0-9]+", text.lower()) if word] for text in (path, split))
    return any(words[start : start + len(wanted)] == wanted for start in range(len(words))) if wanted else False


def _check_size(files: Sequence["RepoFile"], repo_id: str) -> None:
    total = sum(file.size for file in files)
    if total > MAX_FILE_BYTES:
        raise DatasetError(
            f"The split of {repo_id} has {total / 2**30:.1f} GB; Medley takes {MAX_FILE_BYTES // 2**30} GB at most. "
            "Name a smaller split."
        )


def _download(api: "HfApi", repo_id: str, file: "RepoFile", commit: str, folder: Path, emit: Emit) -> Path:
    emit("progress", step=0, total=0, text=f"Downloading {file.path}")
    path = Path(
        api.hf_hub_download(
            repo_id, file.path, repo_type="dataset", revision=commit, local_dir=folder, tqdm_class=_silent_bar()
        )
    )
    if _digest(path, file) != (file.lfs.sha256 if file.lfs else file.blob_id):
        raise HubError(
            f"{file.path} of {repo_id} arrived with other bytes than the Hub lists. Nothing was imported; try again."
        )
    return path


def _digest(path: Path, file: "RepoFile") -> str:
    """What the Hub lists for a file: sha256 of a large one, git's object id of the others."""
    digest = hashlib.sha256() if file.lfs else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _silent_bar() -> type:
    """A progress bar that draws nothing: our own events tell how far it is."""
    from huggingface_hub.utils import tqdm

    class SilentBar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

    return SilentBar


def _licence(info: Any) -> str | None:
    """The licence that the dataset's card names, for the record."""
    named = getattr(info.card_data, "license", None) if getattr(info, "card_data", None) else None
    return ", ".join(map(str, named)) if isinstance(named, list) else named


@contextlib.contextmanager
def _hub_errors(repo_id: str, revision: str | None, api: "HfApi") -> Iterator[None]:
    """Client errors become HubErrors; the original is not chained, because it may hold the token."""
    from huggingface_hub.utils import httpx

    problem = None
    try:
        yield
    except (OSError, ValueError, httpx.HTTPError) as error:
        problem = _sentence(error, repo_id, revision)
    if problem is not None:
        raise HubError(problem.replace(api.token, "(token)") if isinstance(api.token, str) and api.token else problem)


def _sentence(error: Exception, repo_id: str, revision: str | None) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return "The Hub client is offline because HF_HUB_OFFLINE is set. Unset it and try again."
    if isinstance(error, errors.HFValidationError):
        return f"{repo_id[:100]!r} is no dataset on the Hub. Write it as owner/name."
    if isinstance(error, errors.GatedRepoError):
        return f"{repo_id} is gated. Accept its terms on the Hub, then try again with that account's token."
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"The Hub shows no dataset {repo_id}. Check the name; a private one needs a token that may see it."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo_id} has no revision '{revision or 'main'}'."
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"The Hub answered {status} for {repo_id}. Try again later."
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"The Hub did not deliver {repo_id} ({reason}). Check the connection and try again."
