"""A small Hugging Face Hub on loopback, which the unmodified client talks to in tests.

`store` keeps repos, commits and large files in memory; `faults` makes chosen requests go wrong; `api` and `files`
answer the endpoints; `server` is the HTTP side; `fixtures` gives it to tests. It speaks LFS, not Xet: the client must
run with HF_HUB_DISABLE_XET=1, so what only Xet does (chunked transfers) is not covered here.
"""

from tests.hub_server.server import HubServer

__all__ = ["HubServer"]
