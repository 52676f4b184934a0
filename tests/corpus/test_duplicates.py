"""What repeats: near texts by MinHash against comparing all with all, and runs of words in two places."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medley.corpus import import_dataset
from medley.corpus.contamination import overlap_with
from medley.corpus.near_duplicates import NearPair, jaccard, near_pairs, shingles
from medley.corpus.overlap import find_overlap, item_runs, record_pieces
from tests.corpus.reading import Imported, alpaca

Import = Callable[..., Imported]
LONG = "the quick brown fox jumps over the lazy dog while the north wind sings of treasure"  # 16 words
SHORT = "seven words are not enough for this"


def test_shingles_by_hand() -> None:
    assert shingles("AB  cdef").tobytes() == shingles("ab cdef").tobytes()
    # "ab cdef" has the runs "ab cd", "b cde", " cdef": three; "ab cdeg" shares the first two of its three
    assert len(shingles("ab cdef")) == 3
    assert jaccard(shingles("ab cdef"), shingles("ab cdeg")) == 2 / 4
    assert len(shingles("a")) == 1


def test_a_text_is_near_to_the_first_one_that_it_nearly_repeats() -> None:
    texts = [LONG, SHORT, LONG.upper() + "!", f"{LONG} {LONG[:5]}", SHORT]
    found = near_pairs(texts)
    assert [(pair.first, pair.second) for pair in found] == [(0, 2), (0, 3), (1, 4)]
    assert found[2] == NearPair(1, 4, 1.0)
    assert found[0].similarity == pytest.approx(len(shingles(LONG)) / (len(shingles(LONG)) + 1))  # "sure!" is new


@settings(max_examples=40, deadline=None)
@given(
    base=st.lists(st.sampled_from(LONG.split()), min_size=12, max_size=30),
    changes=st.lists(st.tuples(st.integers(0, 29), st.sampled_from(["x", "", "fox"])), max_size=3),
)
def test_what_is_reported_is_near_and_what_is_clearly_near_is_reported(
    base: list[str], changes: list[tuple[int, str]]
) -> None:
    other = list(base)
    for place, word in changes:
        other[place % len(other)] = word
    one, two = " ".join(base), " ".join(other)
    exact = _plain_jaccard(one, two)
    found = near_pairs([one, two])
    assert [(pair.first, pair.second) for pair in found] in ([], [(0, 1)])
    assert all(pair.similarity == pytest.approx(exact) and exact >= 0.8 for pair in found)
    assert found or exact < 0.9  # hashing may miss a pair at the threshold, hardly one well above it


def _plain_jaccard(one: str, two: str) -> float:
    sets = []
    for text in (one, two):
        flat = " ".join(text.split()).encode().ljust(5)
        sets.append({flat[start : start + 5] for start in range(len(flat) - 4)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_runs_by_hand() -> None:
    assert len(item_runs(LONG)) == 16 - 13 + 1
    assert item_runs("One, two; three four: five - six (seven) EIGHT!") == {"one two three four five six seven eight"}
    assert item_runs("I can't say that I don’t know it's mine") == {"i can't say that i don’t know it's mine"}
    assert item_runs(SHORT) == set()


def test_overlap_counts_items_and_rows() -> None:
    rows = [[f"He said: {LONG.capitalize()}."], ["nothing"], [LONG, LONG], [LONG[:40], LONG[40:]]]
    found = find_overlap(rows, [[LONG], [SHORT], ["nothing at all of this stands anywhere in these rows"]])
    assert (found.items, found.compared, found.found, found.rows) == (3, 2, 1, 2)
    assert found.examples == ({"item": 1, "row": 1, "text": " ".join(LONG.split()[:13])},)


@pytest.mark.parametrize(("items", "expected"), [(10, 10), (11, 0)])
def test_a_run_of_many_items_is_their_template(items: int, expected: int) -> None:
    assert find_overlap([[LONG]], [[f"{LONG} number {number}"] for number in range(items)]).found == expected


def test_an_import_counts_what_repeats(imported: Import) -> None:
    rows = [alpaca(f"Question {number} {'abcdefghij'[number % 10] * 30}?", f"{number}") for number in range(10)]
    rows += [alpaca(f"{LONG} {number}", "same") for number in range(10)]
    result = imported(rows, eval_share=0.2)
    figures = result.report.duplicates
    assert (figures["rows"], figures["compared"], figures["near"]) == (20, 20, 9)
    assert figures["near_examples"][0]["similarity"] >= 0.8
    split = sum(LONG in row["prompt"][0]["content"] for row in result.held_out)
    assert (figures["eval_rows"], figures["eval_near_train"]) == (4, split)
    assert figures["eval_overlap"]["found"] == split
    assert result.report.warnings()[0] == "9 of 20 rows nearly repeat an earlier one. None was left out."


STORY = " ".join(map(str, range(1000, 1100)))
ANSWERS = (" ".join(map(str, range(3000, 3040))), "Nobody knows.", "Ask the parrot!", "Gold, of course")


def test_rows_that_share_a_prompt_by_nature_repeat_when_their_answers_do(imported: Import) -> None:
    """All texts are near, for the prompt is long; so would be the first two pairs' answers, read as one.

    Only the last pair says on both sides what another one, the second, says.
    """
    sides = [(0, 1), (0, 2), (1, 3), (2, 3)]
    rows = [{"prompt": STORY, "chosen": ANSWERS[one], "rejected": ANSWERS[other]} for one, other in sides]
    rows.append({**rows[1], "prompt": f"{STORY}!", "rejected": f"{ANSWERS[2]}!"})
    figures = imported(rows).report.duplicates
    assert figures["near"] == 1
    assert figures["near_examples"][0]["rows"] == ["train 2", "train 5"]


def test_answers_marked_good_or_bad_are_compared_apart_from_their_prompt(imported: Import) -> None:
    rows = [{"prompt": STORY, "completion": answer, "label": answer == ANSWERS[0]} for answer in ANSWERS]
    assert imported(rows).report.duplicates["near"] == 0


def test_a_suite_of_any_form_is_found_in_a_dataset(imported: Import, tmp_path: Path) -> None:
    folder = imported([alpaca(f"Tell me: {LONG}?"), alpaca("Nothing else")]).folder
    suite = tmp_path / "suite.jsonl"
    items: list[dict[str, Any]] = [
        {"query": f"Question: {LONG}", "choices": ["yes", "no"], "gold": 0},
        {"context": "something else that is long enough to be compared with rows", "continuation": "or not"},
        {"query": SHORT, "choices": [LONG, "no"], "gold": 1},
    ]
    suite.write_text("".join(json.dumps(item) + "\n" for item in items))
    assert record_pieces(items[0]) == [f"Question: {LONG}", "yes", "no"]
    found = overlap_with(folder, suite)
    assert (found.items, found.compared, found.found, found.rows) == (3, 3, 2, 1)
    assert overlap_with(folder, folder).found == 1  # "Nothing else" is too short to be compared


def test_a_real_suite_does_not_stand_in_real_tasks_but_these_stand_in_themselves(
    shared_data: Path, tmp_path: Path
) -> None:
    tasks = shared_data / "self-instruct/user_oriented_instructions.jsonl"
    import_dataset(tasks, tmp_path / "tasks")
    suite = overlap_with(tmp_path / "tasks", shared_data / "llm-foundry-icl/openbook_qa.jsonl")
    assert (suite.items, suite.compared, suite.found) == (500, 323, 0)
    itself = overlap_with(tmp_path / "tasks", tasks)
    assert (itself.items, itself.compared, itself.found, itself.rows) == (252, 250, 250, 250)
