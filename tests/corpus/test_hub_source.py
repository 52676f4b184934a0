"""Datasets from the Hub, by the real client against the loopback server."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from medley.corpus import import_from_hub, read_rows
from medley.corpus.hub_source import choose_files
from medley.errors import DatasetError, HubError, ParameterError
from tests.corpus.reading import alpaca
from tests.hub_server import HubServer
from tests.hub_server.fixtures import MACHINE_TOKEN


def lines(*questions: str) -> bytes:
    return "".join(json.dumps(alpaca(question)) + "\n" for question in questions).encode()


def parquet(*questions: str) -> bytes:
    import pyarrow
    import pyarrow.parquet

    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([alpaca(question) for question in questions]), sink)
    return sink.getvalue().to_pybytes()


def fetch(hub: HubServer, out: Path, repo_id: str = "ada/rows", **settings: Any) -> Any:
    return import_from_hub(repo_id, out, endpoint=hub.url, **{"eval_share": 0.0, **settings})


def questions(folder: Path) -> list[str]:
    return [row["prompt"][0]["content"] for row in read_rows(folder)]


def test_the_train_split_of_a_public_dataset(hub_server: HubServer, tmp_path: Path) -> None:
    shards = {f"data/train-{number:05d}-of-00002.parquet": parquet(f"{number}?") for number in range(2)}
    card = b"---\nlicense: cc0-1.0\n---\n# Rows\n"
    files = {**shards, "data/test-00000-of-00001.parquet": parquet("test?"), "README.md": card, "load.py": b"import os"}
    repo = hub_server.store.add_repo("ada/rows", files, kind="dataset")
    report = fetch(hub_server, tmp_path / "out")
    assert questions(tmp_path / "out") == ["0?", "1?"]
    assert report.source == f"ada/rows@{repo.head().oid}"
    assert report.source_sha256 == {path[5:]: hashlib.sha256(data).hexdigest() for path, data in shards.items()}
    asked = [each.path for each in hub_server.seen]
    assert not any("load.py" in path or "test-" in path for path in asked if "/resolve/" in path)
    assert all("authorization" not in {name.lower() for name in each.headers} for each in hub_server.seen)


def test_a_private_dataset_needs_the_token_of_this_call(hub_server: HubServer, tmp_path: Path) -> None:
    hub_server.store.add_repo("ada/rows", {"train.jsonl": lines("A?")}, kind="dataset", is_private=True)
    with pytest.raises(HubError) as caught:
        fetch(hub_server, tmp_path / "out")
    assert str(caught.value) == (
        "The Hub shows no dataset ada/rows. Check the name; a private one needs a token that may see it."
    )
    assert list(tmp_path.glob("out*")) == []
    fetch(hub_server, tmp_path / "out", token=hub_server.owner.token)
    assert questions(tmp_path / "out") == ["A?"]
    sent = " ".join(str(each.headers) for each in hub_server.seen)
    assert hub_server.owner.token in sent
    assert MACHINE_TOKEN not in sent
    assert "hf_" not in "".join(path.read_text() for path in (tmp_path / "out").iterdir())


def test_an_older_revision_is_taken_when_asked(hub_server: HubServer, tmp_path: Path) -> None:
    repo = hub_server.store.add_repo("ada/rows", {"train.jsonl": lines("old?")}, kind="dataset")
    old = repo.head().oid
    hub_server.store.add_commit(repo, {"train.jsonl": lines("new?")})
    assert fetch(hub_server, tmp_path / "old", revision=old).source == f"ada/rows@{old}"
    fetch(hub_server, tmp_path / "new")
    assert (questions(tmp_path / "old"), questions(tmp_path / "new")) == (["old?"], ["new?"])
    with pytest.raises(HubError, match=r"^ada/rows has no revision 'gone'\.$"):
        fetch(hub_server, tmp_path / "gone", revision="gone")


@pytest.mark.parametrize("name", ["train.parquet", "train.jsonl"])  # a large file and a plain one
def test_corrupted_bytes_are_noticed(hub_server: HubServer, tmp_path: Path, name: str) -> None:
    data = parquet("A?") if name.endswith("parquet") else lines("A?")
    hub_server.store.add_repo("ada/rows", {name: data}, kind="dataset")
    hub_server.corrupt("resolve/.*train")
    with pytest.raises(HubError) as caught:
        fetch(hub_server, tmp_path / "out")
    assert str(caught.value) == (
        f"{name} of ada/rows arrived with other bytes than the Hub lists. Nothing was imported; try again."
    )
    assert list(tmp_path.glob("out*")) == []


def test_refusals_of_the_hub(hub_server: HubServer, tmp_path: Path) -> None:
    with pytest.raises(HubError, match=r"^The Hub shows no dataset ada/gone\."):
        fetch(hub_server, tmp_path / "out", "ada/gone")
    with pytest.raises(HubError, match=r"^'\.\./etc' is no dataset on the Hub\. Write it as owner/name\.$"):
        fetch(hub_server, tmp_path / "out", "../etc")
    hub_server.store.add_repo("ada/rows", {"train.jsonl": lines("A?")}, kind="dataset")
    hub_server.fail("GET", "api/datasets", 403)
    with pytest.raises(HubError, match=r"^The Hub answered 403 for ada/rows\. Try again later\.$"):
        fetch(hub_server, tmp_path / "out")
    assert list(tmp_path.glob("out*")) == []


def test_a_path_that_leads_out_of_the_folder_is_not_written(hub_server: HubServer, tmp_path: Path) -> None:
    repo = hub_server.store.add_repo("ada/rows", {"README.md": b"x"}, kind="dataset")
    repo.extra_tree_entries.append("../../../train.jsonl")
    with pytest.raises((HubError, DatasetError)):
        fetch(hub_server, tmp_path / "out")
    assert list(tmp_path.rglob("train.jsonl")) == []


def test_a_hub_that_is_not_there(hub_server: HubServer, tmp_path: Path) -> None:
    hub_server.close()
    with pytest.raises(
        HubError, match=r"^The Hub did not deliver ada/rows \(.*\)\. Check the connection and try again"
    ):
        fetch(hub_server, tmp_path / "out")


def test_settings_are_checked_before_anything_is_asked(hub_server: HubServer, tmp_path: Path) -> None:
    with pytest.raises(ParameterError):
        fetch(hub_server, tmp_path / "out", turns="first")
    assert hub_server.seen == []


@pytest.mark.parametrize(
    ("paths", "split", "chosen"),
    [
        (["train.jsonl", "test.jsonl"], None, ["train.jsonl"]),
        (["train.jsonl", "test.jsonl"], "test", ["test.jsonl"]),
        (["rows.csv"], None, ["rows.csv"]),
        (["train.jsonl.gz", "train.parquet"], None, ["train.parquet"]),
        (["data/train_sft-00000-of-00001.parquet", "data/train_prefs-00000-of-00001.parquet"], "train_sft", 0),
        (["data/train.csv", "data/train_extra.csv"], "train", ["data/train.csv"]),
        (["en/a.jsonl", "en/b.jsonl", "de/a.jsonl"], "en/*.jsonl", ["en/a.jsonl", "en/b.jsonl"]),
        (["a.jsonl", "b.jsonl"], "b.jsonl", ["b.jsonl"]),
        (["train-00000-of-00002-0a1b.parquet", "train-00001-of-00002-2c3d.parquet"], None, "all"),
    ],
)
def test_which_files_are_a_split(paths: list[str], split: str | None, chosen: Any) -> None:
    expected = paths if chosen == "all" else [paths[chosen]] if isinstance(chosen, int) else chosen
    assert choose_files(paths, split, "ada/rows") == expected


@pytest.mark.parametrize(
    ("paths", "split", "message"),
    [
        ([], None, "ada/rows has no .json, .jsonl, .csv or .parquet files."),
        (["train.jsonl"], "validation", "ada/rows has no split 'validation'. It has: train."),
        (
            ["train_sft.jsonl", "train_prefs.jsonl", "test.jsonl"],
            None,
            "ada/rows has several sets of rows: train_prefs, train_sft. Name one of them as the split.",
        ),
        (["a.csv", "b.csv"], None, "ada/rows has several sets of rows: a, b. Name one of them as the split."),
    ],
)
def test_a_split_that_cannot_be_told(paths: list[str], split: str | None, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        choose_files(paths, split, "ada/rows")
    assert str(caught.value) == message
