"""What jobs read from the Hugging Face Hub: a commit, files into its cache, headers. Push and pull are `hub`'s own."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from hub.remote import checked_token, open_client, plain_errors, quiet_client
from medley.errors import BaseModelError

if TYPE_CHECKING:
    from huggingface_hub.utils import SafetensorsFileMetadata

MAX_CONNECTIONS = 8
OUTLINE_FILES = (  # what models are compared by, beside the headers of their weights
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "chat_template.jinja",
    "adapter_config.json",
    "model.safetensors.index.json",
)
Token = str | bool | None  # a token; False for none at all; None for the one in HF_TOKEN, if it is set


def _chosen(token: Token) -> str | bool:
    return checked_token(os.environ.get("HF_TOKEN") if token is None else token)


def latest_commit(repo_id: str, revision: str | None, *, token: Token = None) -> str:
    """The commit that a branch, a tag or the default branch points at now.

    Raises:
        HubError: no such repo or revision, no permission, or no connection.
    """
    client = open_client(_chosen(token), None)
    with plain_errors(repo_id, client, revision):
        return str(client.model_info(repo_id, revision=revision).sha)


def hub_files(repo_id: str, revision: str | None, *, token: Token = None) -> list[str]:
    """The names of a repo's files.

    Raises:
        HubError: no such repo or revision, no permission, or no connection.
    """
    client = open_client(_chosen(token), None)
    with plain_errors(repo_id, client, revision):
        return [each.rfilename for each in client.model_info(repo_id, revision=revision).siblings or []]


def download(repo_id: str, revision: str | None, patterns: Sequence[str], *, token: Token = None) -> Path:
    """The folder in the Hub's cache that holds the repo's files of these patterns; fetched if they are not there.

    Raises:
        HubError: no such repo or revision, no permission, or no connection.
    """
    client = open_client(_chosen(token), None)
    with plain_errors(repo_id, client, revision):
        return Path(client.snapshot_download(repo_id, revision=revision, allow_patterns=list(patterns)))


def download_outline(repo_id: str, revision: str | None, folder: Path, *, token: Token = None) -> None:
    """Put what is small of a full model into `folder`: configuration, tokenizer, and the headers of its weights.

    Each weights file gets its header and its length, with a hole where the weights are. Whatever reads headers finds
    the same as in the model itself, and the holes take no room on the disk.

    Args:
        folder: made here.

    Raises:
        HubError: no such repo or revision, no permission, or no connection.
        BaseModelError: a weights file is damaged.
    """
    from huggingface_hub.errors import SafetensorsParsingError

    client = open_client(_chosen(token), None)
    with plain_errors(repo_id, client, revision), quiet_client():
        about = client.model_info(repo_id, revision=revision)
        client.snapshot_download(repo_id, revision=about.sha, allow_patterns=list(OUTLINE_FILES), local_dir=folder)
        listed = (each.rfilename for each in about.siblings or [])
        names = [name for name in listed if name.endswith(".safetensors") and "/" not in name]

        def fetch(name: str) -> None:
            try:
                header = client.parse_safetensors_file_metadata(repo_id, name, revision=about.sha)
            except SafetensorsParsingError as error:
                raise BaseModelError(f"{name} of {repo_id} is not a readable safetensors file.") from error
            _write_header(folder / name, header)

        with ThreadPoolExecutor(MAX_CONNECTIONS) as pool:
            list(pool.map(fetch, names))


def _write_header(path: Path, header: "SafetensorsFileMetadata") -> None:
    entries = {
        name: {"dtype": each.dtype, "shape": list(each.shape), "data_offsets": list(each.data_offsets)}
        for name, each in header.tensors.items()
    }
    text = json.dumps(entries).encode()
    size = max((end for _, end in (each.data_offsets for each in header.tensors.values())), default=0)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size)
