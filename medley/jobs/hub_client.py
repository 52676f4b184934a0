"""What jobs read from the Hugging Face Hub: a commit, and files into its cache. Push and pull are `hub`'s own."""

import os
from collections.abc import Sequence
from pathlib import Path

from hub.remote import checked_token, open_client, plain_errors

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
