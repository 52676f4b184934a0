"""The byte endpoints: downloads with ranges, and large files in one piece or in parts."""

import hashlib
import re

from tests.hub_server.api import KINDS, refuse_gated
from tests.hub_server.exchange import Answer, Request, json_answer
from tests.hub_server.store import HubStore, Refusal


def answer_files(store: HubStore, request: Request, part_bytes: int | None) -> Answer:
    """The answer of a path that is not under /api/.

    Args:
        part_bytes: when set, large files above this size are asked for in parts of it.
    """
    parts = request.parts
    if parts[0] == "lfs-upload":
        return upload(store, request, parts[1:])
    if parts[0] in ("lfs-verify", "lfs-complete"):
        return verify(store, request) if parts[0] == "lfs-verify" else complete(store, request)
    kind = "model"
    if parts[0] in KINDS and len(parts) > 3:
        kind, parts = KINDS[parts[0]], parts[1:]
    if request.path.endswith(".git/info/lfs/objects/batch"):
        repo_id = f"{parts[0]}/{parts[1].removesuffix('.git')}"
        store.find_to_write(kind, repo_id, request.user)
        return batch(store, request, part_bytes)
    if len(parts) >= 5 and parts[2] == "resolve":
        return resolve(store, request, kind, f"{parts[0]}/{parts[1]}", parts[3], "/".join(parts[4:]))
    raise Refusal(404, f"No such page: {request.path}")


def resolve(store: HubStore, request: Request, kind: str, repo_id: str, revision: str, path: str) -> Answer:
    repo = store.find(kind, repo_id, request.user)
    refuse_gated(repo, request)
    at = repo.commit_at(revision)
    if path not in at.files:
        raise Refusal(404, "Entry not found", "EntryNotFound")
    file = at.files[path]
    size = len(file.content)
    headers = {"X-Repo-Commit": at.oid, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
    headers |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(size)}
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if wanted is None:
        return Answer(200, file.content, headers)
    first, last = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
    if first >= size:
        raise Refusal(416, "Range not satisfiable")
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Answer(206, file.content[first : last + 1], headers)


def batch(store: HubStore, request: Request, part_bytes: int | None) -> Answer:
    objects = []
    for each in request.json()["objects"]:
        entry = {"oid": each["oid"], "size": each["size"]}
        if each["oid"] not in store.lfs:
            entry["actions"] = _actions(request.base_url, each["oid"], each["size"], part_bytes)
        objects.append(entry)
    transfer = "multipart" if part_bytes else "basic"
    return json_answer({"transfer": transfer, "objects": objects})


def _actions(base_url: str, oid: str, size: int, part_bytes: int | None) -> dict[str, dict]:
    verify_action = {"href": f"{base_url}/lfs-verify"}
    if part_bytes is None or size <= part_bytes:
        return {"upload": {"href": f"{base_url}/lfs-upload/{oid}"}, "verify": verify_action}
    count = -(-size // part_bytes)
    header = {str(number): f"{base_url}/lfs-upload/{oid}/{number}" for number in range(1, count + 1)}
    header["chunk_size"] = str(part_bytes)
    return {"upload": {"href": f"{base_url}/lfs-complete", "header": header}, "verify": verify_action}


def upload(store: HubStore, request: Request, parts: list[str]) -> Answer:
    """A PUT of a whole object or of one part; signed addresses carry no Authorization header, as at the Hub."""
    if "authorization" in request.headers:
        raise Refusal(400, "Only one auth mechanism allowed")
    digest = hashlib.sha256(request.body).hexdigest()
    if len(parts) == 2:
        store.parts[parts[0], int(parts[1])] = request.body
    elif digest != parts[0]:
        raise Refusal(400, "The bytes do not have the announced sha256")
    else:
        store.lfs[digest] = request.body
    return Answer(200, b"", {"ETag": f'"{digest}"'})


def complete(store: HubStore, request: Request) -> Answer:
    wanted = request.json()
    content = b"".join(store.parts[wanted["oid"], part["partNumber"]] for part in wanted["parts"])
    if hashlib.sha256(content).hexdigest() != wanted["oid"]:
        raise Refusal(400, "The parts do not have the announced sha256")
    store.lfs[wanted["oid"]] = content
    return json_answer({})


def verify(store: HubStore, request: Request) -> Answer:
    wanted = request.json()
    if request.user is None:
        raise Refusal(401, "Invalid username or password.")
    if len(store.lfs.get(wanted["oid"], b"")) != wanted["size"]:
        raise Refusal(404, "The object is not there in this size")
    return json_answer({})
