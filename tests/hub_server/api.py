"""The JSON endpoints: whoami, repos, info, settings, card check, upload modes, commits, tags, branches, refs, tree."""

import base64
import json
from collections.abc import Callable
from typing import Any

import yaml

from tests.hub_server.exchange import Answer, Request, json_answer
from tests.hub_server.store import Commit, HubStore, Refusal, Repo, StoredFile, is_lfs

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
URL_PREFIX = {"model": "", "dataset": "datasets/", "space": "spaces/"}
DATE = "2026-08-01T12:00:00.000Z"


def answer_api(store: HubStore, request: Request, page_size: int) -> Answer:
    """The answer of a path under /api/."""
    parts = request.parts[1:]
    if parts[:1] == ["whoami-v2"]:
        return whoami(request)
    if parts == ["repos", "create"]:
        return create_repo(store, request)
    if parts == ["repos", "delete"]:
        return delete_repo(store, request)
    if parts == ["validate-yaml"]:
        return validate_yaml(request)
    if len(parts) >= 3 and parts[0] in KINDS:
        return answer_repo(store, request, KINDS[parts[0]], "/".join(parts[1:3]), parts[3:], page_size)
    raise Refusal(404, f"No such endpoint: {request.path}")


def answer_repo(store: HubStore, request: Request, kind: str, repo_id: str, rest: list[str], page_size: int) -> Answer:
    verb = (request.method, rest[0] if rest else "")
    writes: dict[tuple[str, str], Callable[..., Answer]] = {
        ("PUT", "settings"): settings,
        ("POST", "preupload"): preupload,
        ("POST", "commit"): commit,
        ("POST", "tag"): create_tag,
        ("POST", "branch"): create_branch,
    }
    if verb in writes:
        repo = store.find_to_write(kind, repo_id, request.user)
        return writes[verb](store, repo, request, rest[1] if len(rest) > 1 else "main")
    repo = store.find(kind, repo_id, request.user)
    if verb in {("GET", ""), ("GET", "revision")}:
        return info(repo, repo.commit_at(rest[1] if len(rest) > 1 else "main"))
    if verb == ("GET", "refs"):
        return refs(repo)
    if verb == ("GET", "auth-check"):
        refuse_gated(repo, request)
        return json_answer({})
    if verb == ("GET", "tree"):
        return tree(repo, repo.commit_at(rest[1]), "/".join(rest[2:]), request, page_size)
    if verb == ("GET", "commits"):
        return json_answer([_commit_json(each) for each in repo.history(rest[1])])
    raise Refusal(404, f"No such endpoint: {request.path}")


def refuse_gated(repo: Repo, request: Request) -> None:
    name = request.user.name if request.user else None
    if repo.gated and name not in {repo.owner, *repo.granted}:
        raise Refusal(403 if name else 401, f"Access to model {repo.repo_id} is restricted.", "GatedRepo")


def whoami(request: Request) -> Answer:
    user = request.user
    if user is None:
        raise Refusal(401, "Invalid username or password.")
    orgs = [{"type": "org", "name": org, "fullname": org, "roleInOrg": "write"} for org in user.orgs]
    access = {"displayName": "test", "role": user.role}
    fields = {"type": "user", "name": user.name, "fullname": user.name.title(), "orgs": orgs}
    return json_answer({**fields, "auth": {"type": "access_token", "accessToken": access}})


def create_repo(store: HubStore, request: Request) -> Answer:
    wanted = request.json()
    user = request.user
    if user is None:
        raise Refusal(401, "Invalid username or password.")
    namespace = wanted.get("organization") or user.name
    kind, repo_id = wanted.get("type") or "model", f"{namespace}/{wanted['name']}"
    url = f"{request.base_url}/{URL_PREFIX[kind]}{repo_id}"
    if not user.can_write(namespace):
        raise Refusal(403, f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"')
    if (kind, repo_id) in store.repos:
        return json_answer({"error": f"You already created this {kind} repo", "url": url}, 409)
    store.add_repo(repo_id, kind=kind, is_private=wanted.get("visibility") == "private")
    return json_answer({"url": url, "name": repo_id})


def delete_repo(store: HubStore, request: Request) -> Answer:
    wanted = request.json()
    namespace = wanted.get("organization") or (request.user.name if request.user else "")
    repo = store.find_to_write(wanted.get("type") or "model", f"{namespace}/{wanted['name']}", request.user)
    store.deleted.append(repo.repo_id)
    del store.repos[repo.kind, repo.repo_id]
    return json_answer({})


def validate_yaml(request: Request) -> Answer:
    content = request.json()["content"]
    front = content.split("---\n")[1] if content.startswith("---\n") and content.count("---\n") > 1 else ""
    try:
        is_mapping = isinstance(yaml.safe_load(front) or {}, dict)
    except yaml.YAMLError as error:
        return json_answer({"errors": [{"message": f"Invalid YAML: {error}"}], "warnings": []}, 400)
    if not is_mapping:
        return json_answer({"errors": [{"message": "Metadata must be a mapping"}], "warnings": []}, 400)
    return json_answer({"errors": [], "warnings": []})


def info(repo: Repo, at: Commit) -> Answer:
    paths = [*sorted(at.files), *repo.extra_tree_entries]
    fields: dict[str, Any] = {"id": repo.repo_id, "modelId": repo.repo_id, "author": repo.owner, "sha": at.oid}
    fields |= {
        "private": repo.is_private,
        "gated": repo.gated,
        "disabled": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
    }
    fields |= {"lastModified": DATE, "createdAt": DATE, "siblings": [{"rfilename": path} for path in paths]}
    return json_answer(fields)


def settings(store: HubStore, repo: Repo, request: Request, revision: str) -> Answer:
    wanted = request.json()
    if "visibility" in wanted:
        repo.is_private = wanted["visibility"] == "private"
    if "private" in wanted:
        repo.is_private = wanted["private"]
    if "gated" in wanted:
        repo.gated = wanted["gated"]
    return json_answer({"private": repo.is_private, "gated": repo.gated})


def preupload(store: HubStore, repo: Repo, request: Request, revision: str) -> Answer:
    known = repo.commit_at(revision).files
    files = []
    for each in request.json()["files"]:
        mode = "lfs" if is_lfs(each["path"], each["size"]) else "regular"
        entry = {"path": each["path"], "uploadMode": mode, "shouldIgnore": False}
        if each["path"] in known:
            entry["oid"] = known[each["path"]].etag
        files.append(entry)
    return json_answer({"files": files})


def commit(store: HubStore, repo: Repo, request: Request, revision: str) -> Answer:
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    head = repo.head(revision)
    if header.get("parentCommit") not in (None, head.oid):
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    files = dict(head.files)
    for line in lines:
        _apply(store, files, line["key"], line["value"])
    made = repo.commit(revision, header["summary"], files)
    url = f"{request.base_url}/{URL_PREFIX[repo.kind]}{repo.repo_id}/commit/{made.oid}"
    return json_answer({"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""})


def _apply(store: HubStore, files: dict[str, StoredFile], key: str, value: dict[str, Any]) -> None:
    if key == "file":
        files[value["path"]] = StoredFile(base64.b64decode(value["content"]), False)
    elif key == "lfsFile":
        if value["oid"] not in store.lfs:
            raise Refusal(400, f"The LFS object {value['oid']} was not uploaded")
        files[value["path"]] = StoredFile(store.lfs[value["oid"]], True)
    elif key == "deletedFile":
        if files.pop(value["path"], None) is None:
            raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")
    elif key == "deletedFolder":
        for path in [path for path in files if path.startswith(value["path"])]:
            del files[path]


def create_tag(store: HubStore, repo: Repo, request: Request, revision: str) -> Answer:
    tag = request.json()["tag"]
    if tag in repo.tags:
        raise Refusal(409, f"Tag {tag} exists already")
    repo.tags[tag] = repo.commit_at(revision).oid
    return json_answer({})


def create_branch(store: HubStore, repo: Repo, request: Request, branch: str) -> Answer:
    if branch in repo.branches:
        raise Refusal(409, f"Branch {branch} exists already")
    start = request.json().get("startingPoint") if request.body else None
    repo.branches[branch] = repo.commit_at(start or "main").oid
    return json_answer({})


def refs(repo: Repo) -> Answer:
    def listed(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid} for name, oid in names.items()]

    return json_answer({"branches": listed("heads", repo.branches), "tags": listed("tags", repo.tags), "converts": []})


def tree(repo: Repo, at: Commit, folder: str, request: Request, page_size: int) -> Answer:
    entries = [_tree_entry(path, file) for path, file in sorted(at.files.items()) if path.startswith(folder)]
    entries += [_tree_entry(path, StoredFile(b"evil", False)) for path in repo.extra_tree_entries]
    start = int(request.query.get("cursor", 0))
    page = json_answer(entries[start : start + page_size])
    if start + page_size < len(entries):
        query = f"recursive={request.query.get('recursive', 'false')}&cursor={start + page_size}"
        page.headers["Link"] = f'<{request.base_url}{request.path}?{query}>; rel="next"'
    return page


def _tree_entry(path: str, file: StoredFile) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(file.content), "oid": file.git_sha1}
    if file.is_lfs:
        entry["lfs"] = {"oid": file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)}
    return entry


def _commit_json(each: Commit) -> dict[str, Any]:
    return {"id": each.oid, "title": each.title, "message": "", "date": DATE, "authors": [{"user": "medley"}]}
