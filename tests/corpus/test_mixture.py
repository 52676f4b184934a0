"""Mixtures: shares by rows, nothing drawn twice, and nothing of an eval split in train."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medley.corpus import import_dataset, read_report, read_rows
from medley.corpus.mixture import Source, mix_datasets, row_counts, shares_of
from medley.errors import DatasetError, ParameterError, UserError
from tests.corpus.reading import alpaca

Make = Callable[..., Source]
NOWHERE = Path("nowhere")


@pytest.fixture
def source(data_file: Callable[..., Path], tmp_path: Path) -> Make:
    """source("a", 3.0, rows=20) imports rows a0, a1, … as a dataset of that name."""

    def make(name: str, share: float, *, rows: int = 20, is_replay: bool = False, **settings: Any) -> Source:
        records = settings.pop("records", None) or [
            alpaca(f"{name}{number}?", f"{name} says") for number in range(rows)
        ]
        path = data_file(f"{name}.jsonl", records)
        import_dataset(path, tmp_path / "sources" / name, **{"eval_share": 0.0, **settings})
        return Source(name, tmp_path / "sources" / name, share, is_replay)

    return make


def names(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(row["prompt"][0]["content"][0] for row in rows)


def test_shares_by_hand() -> None:
    # replay takes 0.1 of the whole; 3 : 1 share the other 0.9
    sources = [Source("a", NOWHERE, 3.0), Source("b", NOWHERE, 1.0), Source("c", NOWHERE, 0.1, is_replay=True)]
    assert shares_of(sources) == pytest.approx({"a": 0.675, "b": 0.225, "c": 0.1})


def test_counts_by_hand() -> None:
    shares = {"a": 0.75, "b": 0.25}
    assert row_counts(shares, {"a": 30, "b": 30}, None) == {"a": 30, "b": 10}  # 30 / 0.75 = 40 rows in all
    assert row_counts(shares, {"a": 30, "b": 30}, 10) == {"a": 8, "b": 2}  # 7.5 and 2.5: the first is rounded up
    assert row_counts({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, {"a": 9, "b": 9, "c": 9}, 10) == {"a": 4, "b": 3, "c": 3}


@given(
    weights=st.lists(st.floats(0.01, 100), min_size=2, max_size=5),
    available=st.lists(st.integers(1, 500), min_size=5, max_size=5),
)
def test_a_mixture_takes_no_more_than_there_is_and_keeps_its_shares(weights: list[float], available: list[int]) -> None:
    shares = shares_of([Source(str(place), NOWHERE, weight) for place, weight in enumerate(weights)])
    there = {name: available[int(name)] for name in shares}
    counts = row_counts(shares, there, None)
    total = min(there[name] / share for name, share in shares.items())
    assert all(0 <= counts[name] <= there[name] for name in shares)
    assert all(abs(counts[name] - shares[name] * total) <= 1 + shares[name] for name in shares)


def test_a_mixture_of_three(source: Make, tmp_path: Path) -> None:
    sources = [source("a", 3, rows=60), source("b", 1, rows=60), source("c", 0.2, is_replay=True)]
    report = mix_datasets(sources, tmp_path / "mix", rows=50, seed=1)
    rows = read_rows(tmp_path / "mix")
    assert names(rows) == {"a": 30, "b": 10, "c": 10}
    assert len({row["prompt"][0]["content"] for row in rows}) == 50  # nothing twice
    assert report == read_report(tmp_path / "mix")
    assert (report.format, report.kind, report.rows) == ("mixture", "sft", {"train": 50, "eval": 0})
    assert report.source == "60.0% a, 20.0% b, 20.0% c"
    assert report.found == {"rows": 140, "train rows from a": 30, "train rows from b": 10, "train rows from c": 10}


def test_the_same_seed_gives_the_same_bytes(source: Make, tmp_path: Path) -> None:
    sources = [source("a", 1), source("b", 1)]
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        mix_datasets(sources, tmp_path / name, rows=20, seed=seed)
    files = [(tmp_path / name / "train.jsonl").read_bytes() for name in ("one", "again", "other")]
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_eval_rows_stay_eval_rows_in_the_same_shares(source: Make, tmp_path: Path) -> None:
    sources = [source("a", 3, rows=40, eval_share=0.25), source("b", 1, rows=40, eval_share=0.25)]
    report = mix_datasets(sources, tmp_path / "mix")
    held_out, train = read_rows(tmp_path / "mix", "eval"), read_rows(tmp_path / "mix")
    assert report.rows == {"train": 40, "eval": 13}  # 30 / 0.75; 10 / 0.75
    assert names(held_out) == {"a": 10, "b": 3}
    own = {row["prompt"][0]["content"] for each in sources for row in read_rows(each.folder, "eval")}
    assert {row["prompt"][0]["content"] for row in held_out} <= own
    assert own.isdisjoint(row["prompt"][0]["content"] for row in train)


def test_what_one_source_holds_out_no_other_trains_on(source: Make, tmp_path: Path) -> None:
    shared = [alpaca(f"q{number}?", "first") for number in range(20)]
    first = source("a", 1, records=shared, eval_share=0.5)
    second = source("b", 1, records=[{**row, "output": "second"} for row in shared], eval_share=0.0)
    third = source("c", 1, records=[*shared, alpaca("q99?")], eval_share=0.0)
    report = mix_datasets([first, second, third], tmp_path / "mix", rows=3)
    # of b's rows 10 ask what a holds out; of c's, all but one are a's own rows
    assert report.dropped == {"prompt is in an eval split": 10, "exact duplicate of another source": 20}
    asked = {row["prompt"][0]["content"].casefold() for row in read_rows(tmp_path / "mix", "eval")}
    assert asked.isdisjoint(row["prompt"][0]["content"] for row in read_rows(tmp_path / "mix"))


def test_licence_and_provenance_are_those_of_all(source: Make, tmp_path: Path) -> None:
    one = source("a", 1, licence="mit", provenance="human")
    two = source("b", 1, licence="cc0-1.0", provenance="generated")
    known = mix_datasets([one, two], tmp_path / "known")
    assert (known.licence, known.provenance) == ("mit, cc0-1.0", "mixed")
    unknown = mix_datasets([one, source("c", 1)], tmp_path / "unknown")
    assert (unknown.licence, unknown.provenance) == (None, None)


def test_mixtures_that_cannot_be(source: Make, tmp_path: Path) -> None:
    one, few = source("a", 1), source("b", 1, rows=5)
    pairs = source("c", 1, records=[{"prompt": "Hi", "chosen": "Good", "rejected": "Bad"}])
    tries: list[tuple[type[UserError], list[Source], int | None, str]] = [
        (ParameterError, [one], None, "A mixture needs at least two datasets."),
        (ParameterError, [one, few, Source("a", NOWHERE, 0.2, True)], None,
         "Named twice: a. A dataset is either learned or replayed, with one share."),
        (ParameterError, [one, Source("b", NOWHERE, 0)], None, "The share of b must be above 0, got 0."),
        (ParameterError, [one, Source("b", NOWHERE, 1.0, True)], None, "The share of b must be in (0, 1), got 1."),
        (ParameterError, [Source("a", NOWHERE, 0.5, True), Source("b", NOWHERE, 0.5, True)], None,
         "Replay takes 100% of the rows, which leaves nothing for the data to learn."),
        (DatasetError, [one, pairs], None,
         "Only datasets of one kind can be mixed: a is sft data, c is preference data."),
        (ParameterError, [one, few], 20, "20 rows need 10 of b, which has 5. No row is taken twice: "
         "ask for at most 10 rows, or change the shares."),
    ]  # fmt: skip
    for error, sources, rows, message in tries:
        with pytest.raises(error) as caught:
            mix_datasets(sources, tmp_path / "mix", rows=rows)
        assert str(caught.value) == message
    assert not (tmp_path / "mix").exists()
