"""The figures of the merge quality table, by hand; and that no question is both learned from and measured."""

from pathlib import Path

import pytest
import torch

from benchmarks.merge_quality import accuracies, interval, normalised
from benchmarks.quality_measure import positions_of
from benchmarks.quality_tasks import CHOICE_TASKS, TASKS, Item, choice_items, chosen, held_out

ITEMS = [Item(task, f"{task} {index}") for task in TASKS for index in range(4)]
OWN = dict(zip(TASKS, (1.0, 0.5, 0.5, 1.0, 1.0), strict=True))


def test_accuracy_is_normalised_by_the_tasks_own_adapter() -> None:
    correct = [1, 1, 1, 0, *[1, 0, 0, 0], *[0, 0, 0, 0], *[1, 1, 1, 1], *[1, 1, 0, 0]]
    assert list(accuracies(correct, ITEMS).values()) == [0.75, 0.25, 0.0, 1.0, 0.5]
    assert list(normalised(correct, OWN, ITEMS).values()) == [75.0, 50.0, 0.0, 100.0, 50.0]


def test_the_interval_is_of_paired_differences() -> None:
    better = [1] * 20
    worse = [
        0,
        0,
        0,
        0,
        *[1] * 16,
    ]  # every item of the first task lost: 100 points of one task in five, whatever is drawn
    assert interval(better, worse, OWN, ITEMS) == pytest.approx((20.0, 20.0))
    assert interval(better, better, OWN, ITEMS) == (0.0, 0.0)
    low, high = interval([1, 1, 0, 0, *better[4:]], [1, 0, 1, 0, *better[4:]], OWN, ITEMS)
    assert low < 0 < high


def test_the_choice_is_by_likelihood_per_character() -> None:
    # -6 / 3 = -2 a letter against -10 / 10 = -1: the longer one is likelier for its length
    assert chosen([-6.0, -10.0], ["cat", "x" * 10]) == 1


def test_choices_follow_the_question_and_not_each_other() -> None:
    # a question of 2 tokens, choices of 2 and 1 tokens, one token of padding
    positions, previous = positions_of(torch.tensor([[0, 0, 1, 1, 2, -1]]))
    assert positions[0, :5].tolist() == [0, 1, 2, 3, 2]
    assert previous[0, 2:5].tolist() == [1, 2, 1]


def test_no_question_is_learned_from_and_measured(shared_data: Path) -> None:
    for task, (measured, learned) in CHOICE_TASKS.items():
        held, to_train = choice_items(task, shared_data)
        assert (len(held), len(to_train)) == (measured, learned)
        assert not {item.prompt for item in held} & {item.prompt for item in to_train}
    assert len(held_out(shared_data)) == 550
