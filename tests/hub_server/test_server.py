"""The real client against our Hub: what the push and pull tests stand on."""

import hashlib
import socket
from pathlib import Path

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    get_session,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_server import HubServer
from tests.hub_server.fixtures import MACHINE_TOKEN

WEIGHTS = bytes(range(256)) * 40
FILES = {"adapter_config.json": b'{"r": 4}', "adapter_model.safetensors": WEIGHTS}


@pytest.fixture
def api(hub_server: HubServer) -> HfApi:
    return HfApi(endpoint=hub_server.url, token=hub_server.owner.token)


def operations(files: dict[str, bytes]) -> list[CommitOperationAdd]:
    return [CommitOperationAdd(path, data) for path, data in files.items()]


def test_the_whole_way_of_a_repo(hub_server: HubServer, api: HfApi, tmp_path: Path) -> None:
    assert api.whoami()["name"] == "ada"
    assert str(api.create_repo("ada/pirate", private=True)) == f"{hub_server.url}/ada/pirate"
    assert api.create_repo("ada/pirate", exist_ok=True).repo_id == "ada/pirate"
    head = api.repo_info("ada/pirate").sha
    card = b"---\nlibrary_name: peft\n---\n# Pirate\n"
    made = api.create_commit(
        "ada/pirate", operations({**FILES, "README.md": card}), commit_message="v1", parent_commit=head
    )
    api.create_tag("ada/pirate", tag="v1", revision=made.oid)
    api.create_branch("ada/pirate", branch="refs/pr/1")

    info = api.repo_info("ada/pirate")
    assert (info.sha, info.private) == (made.oid, True)
    assert sorted(each.rfilename for each in info.siblings) == sorted([*FILES, "README.md", ".gitattributes"])
    refs = api.list_repo_refs("ada/pirate")
    assert [(tag.name, tag.target_commit) for tag in refs.tags] == [("v1", made.oid)]
    assert {branch.name for branch in refs.branches} == {"main", "refs/pr/1"}
    hub_server.page_size = 2
    tree = {each.path: each for each in api.list_repo_tree("ada/pirate", recursive=True, revision="v1")}
    assert tree["adapter_model.safetensors"].lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert tree["README.md"].blob_id == hashlib.sha1(b"blob %d\0" % len(card) + card).hexdigest()
    assert len(tree) == 4
    assert len(hub_server.calls("GET", "/tree/v1")) == 2

    folder = snapshot_download(
        "ada/pirate", revision="v1", endpoint=hub_server.url, token=hub_server.owner.token, local_dir=tmp_path / "out"
    )
    assert {path.name: path.read_bytes() for path in Path(folder).glob("*") if path.is_file()}.items() >= FILES.items()
    checked = api.verify_repo_checksums("ada/pirate", revision="v1", local_dir=tmp_path / "out")
    assert (checked.checked_count, checked.mismatches, checked.missing_paths) == (4, [], [])


def test_datasets_work_alike(hub_server: HubServer, api: HfApi, tmp_path: Path) -> None:
    api.create_repo("crew/rows", repo_type="dataset")
    api.create_commit("crew/rows", operations({"train.jsonl": b"{}\n"}), commit_message="rows", repo_type="dataset")
    path = hf_hub_download(
        "crew/rows", "train.jsonl", repo_type="dataset", endpoint=hub_server.url, token=False, cache_dir=tmp_path
    )
    assert Path(path).read_bytes() == b"{}\n"
    assert [seen.headers.get("authorization") for seen in hub_server.calls("GET", "/resolve/")] == [None]


def test_an_identical_upload_makes_no_commit(hub_server: HubServer, api: HfApi) -> None:
    api.create_repo("ada/pirate")
    first = api.create_commit("ada/pirate", operations(FILES), commit_message="v1")
    assert api.create_commit("ada/pirate", operations(FILES), commit_message="again").oid == first.oid
    assert len(hub_server.calls("PUT", "/lfs-upload/")) == 1
    assert len(hub_server.store.repos["model", "ada/pirate"].history()) == 2


def test_large_files_in_parts(hub_server: HubServer, api: HfApi) -> None:
    hub_server.part_bytes = 4096
    api.create_repo("ada/pirate")
    api.create_commit("ada/pirate", operations(FILES), commit_message="v1")
    assert len(hub_server.calls("PUT", "/lfs-upload/")) == 3  # 10240 bytes in parts of 4096
    head = hub_server.store.repos["model", "ada/pirate"].head()
    assert head.files["adapter_model.safetensors"].content == WEIGHTS


def test_a_stale_parent_is_412(hub_server: HubServer, api: HfApi) -> None:
    api.create_repo("ada/pirate")
    old = api.repo_info("ada/pirate").sha
    api.create_commit("ada/pirate", operations(FILES), commit_message="v1")
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_commit("ada/pirate", operations({"a.txt": b"x"}), commit_message="v2", parent_commit=old)
    assert caught.value.response.status_code == 412


def test_deleting_files(hub_server: HubServer, api: HfApi) -> None:
    repo = hub_server.store.add_repo("ada/pirate", FILES)
    api.create_commit("ada/pirate", [CommitOperationDelete("adapter_config.json")], commit_message="less")
    assert set(repo.head().files) == {".gitattributes", "adapter_model.safetensors"}


def test_a_bad_card_is_refused_before_anything_is_uploaded(hub_server: HubServer, api: HfApi) -> None:
    api.create_repo("ada/pirate")
    with pytest.raises(ValueError, match=r"Invalid metadata in README\.md"):
        api.create_commit(
            "ada/pirate", operations({"README.md": b"---\na: [1\n---\n", **FILES}), commit_message="broken"
        )
    assert hub_server.calls("PUT", "/lfs-upload/") == []


def test_who_may_see_and_write(hub_server: HubServer) -> None:
    hub_server.store.add_repo("ada/secret", FILES, is_private=True)
    hub_server.store.add_repo("ada/open", FILES)
    nobody = HfApi(endpoint=hub_server.url, token=False)
    stranger = HfApi(endpoint=hub_server.url, token=hub_server.stranger.token)
    wrong = HfApi(endpoint=hub_server.url, token="hf_" + "x" * 34)
    with pytest.raises(RepositoryNotFoundError) as anonymous:
        nobody.repo_info("ada/secret")
    assert anonymous.value.response.status_code == 401
    with pytest.raises(RepositoryNotFoundError) as other:
        stranger.repo_info("ada/secret")
    assert other.value.response.status_code == 404
    assert nobody.repo_info("ada/open").private is False
    with pytest.raises(HfHubHTTPError) as forbidden:
        stranger.create_commit("ada/open", operations({"a.txt": b"x"}), commit_message="mine")
    assert forbidden.value.response.status_code == 403
    with pytest.raises(HfHubHTTPError) as refused:
        wrong.whoami()
    assert refused.value.response.status_code == 401
    with pytest.raises(HfHubHTTPError) as read_only:
        HfApi(endpoint=hub_server.url, token=hub_server.store.add_user("eve", role="read").token).create_repo("eve/x")
    assert read_only.value.response.status_code == 403


def test_missing_things_have_their_codes(hub_server: HubServer, api: HfApi, tmp_path: Path) -> None:
    hub_server.store.add_repo("ada/pirate", FILES)
    hub_server.store.add_repo("ada/gated", FILES).gated = "manual"
    where = {"endpoint": hub_server.url, "cache_dir": tmp_path}
    with pytest.raises(RevisionNotFoundError):
        api.repo_info("ada/pirate", revision="v9")
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download("ada/pirate", "nothing.txt", token=False, **where)
    with pytest.raises(GatedRepoError):
        hf_hub_download("ada/gated", "adapter_config.json", token=hub_server.stranger.token, **where)


def test_faults_are_used_up(hub_server: HubServer, api: HfApi) -> None:
    hub_server.fail("GET", "/whoami", 500)
    with pytest.raises(HfHubHTTPError):
        api.whoami()
    assert api.whoami()["name"] == "ada"


def test_a_cut_download_is_fetched_again(hub_server: HubServer, tmp_path: Path) -> None:
    hub_server.store.add_repo("ada/pirate", FILES)
    hub_server.cut("GET", "/resolve/.*safetensors", after_bytes=100)
    path = hf_hub_download(
        "ada/pirate", "adapter_model.safetensors", endpoint=hub_server.url, token=False, cache_dir=tmp_path
    )
    assert Path(path).read_bytes() == WEIGHTS
    assert len(hub_server.calls("GET", "/resolve/")) == 2


def test_ranges(hub_server: HubServer) -> None:
    hub_server.store.add_repo("ada/pirate", FILES)
    url = f"{hub_server.url}/ada/pirate/resolve/main/adapter_model.safetensors"
    part = get_session().get(url, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, WEIGHTS[100:200])
    assert part.headers["content-range"] == "bytes 100-199/10240"
    assert get_session().get(url, headers={"Range": "bytes=10240-"}).status_code == 416


def test_the_client_takes_corrupted_bytes_of_equal_size(hub_server: HubServer, tmp_path: Path) -> None:
    """The reason why pull compares sha256 itself; only verify_repo_checksums would see it."""
    hub_server.store.add_repo("ada/pirate", FILES)
    hub_server.corrupt("safetensors")
    path = hf_hub_download(
        "ada/pirate", "adapter_model.safetensors", endpoint=hub_server.url, token=False, cache_dir=tmp_path
    )
    assert Path(path).read_bytes() != WEIGHTS


def test_the_machines_own_login_is_there_to_be_leaked(hub_server: HubServer) -> None:
    """With token=None the client sends whatever login it finds; ours never passes None."""
    with pytest.raises(HfHubHTTPError):
        HfApi(endpoint=hub_server.url).repo_info("ada/none")
    assert hub_server.seen[-1].headers["authorization"] == f"Bearer {MACHINE_TOKEN}"


def test_the_guard_refuses_other_machines(loopback_only: list[str]) -> None:
    with pytest.raises(ConnectionRefusedError, match=r"tests may not connect to 192\.0\.2\.1"):
        socket.create_connection(("192.0.2.1", 443), timeout=1)
    with pytest.raises(ConnectionRefusedError, match=r"tests may not connect to huggingface\.co"):
        socket.getaddrinfo("huggingface.co", 443)
    assert loopback_only == ["192.0.2.1", "huggingface.co"]
    loopback_only.clear()
