"""The column `label` beside an answer: a mark that is read, or other words that must not be learned past."""

from collections.abc import Callable
from typing import Any

import pytest

from medley.errors import DatasetError
from tests.corpus.reading import Imported, assistant, user

Import = Callable[..., Imported]


@pytest.mark.parametrize("labels", [(1, 0), (1.0, 0.0), ("1", "0"), (" 1.0", "0.0"), ("TRUE", "false")])
def test_a_label_of_one_or_zero_marks_an_answer(imported: Import, labels: tuple[Any, Any]) -> None:
    result = imported([{"prompt": "Hi", "completion": str(label), "label": label} for label in labels])
    assert (result.report.format, result.report.kind) == ("unpaired", "unpaired")
    assert [row["label"] for row in result.train] == [True, False]


def test_a_label_of_one_or_zero_marks_an_answer_in_a_table_too(imported: Import) -> None:
    result = imported("prompt,completion,label\nA?,Yes,1\nB?,No,0\n", name="a.csv")
    assert [row["label"] for row in result.train] == [True, False]


def test_labels_that_are_classes_do_not_count_in_a_named_format(imported: Import) -> None:
    rows = [{"prompt": f"{label}?", "completion": "Yes", "label": label} for label in (0, 1, 2)]
    result = imported(rows, format="prompt-completion")
    assert [row["prompt"] for row in result.train] == [[user(f"{label}?")] for label in (0, 1, 2)]
    assert result.report.unused_columns == ("label",)


def test_marks_count_in_a_named_format(imported: Import) -> None:
    rows = [{"prompt": f"{label}?", "completion": "Yes", "label": label} for label in (0, 1, None, "", float("nan"))]
    result = imported(rows, format="prompt-completion")
    assert [row["prompt"] for row in result.train] == [[user(f"{label}?")] for label in (1, None, "", "nan")]
    assert result.report.dropped == {"labelled as a bad answer": 1}
    assert result.report.unused_columns == ()


@pytest.mark.parametrize(
    ("columns", "format"),
    [
        ({"prompt": "Hi", "completion": "Hello"}, "prompt-completion"),
        ({"inputs": "Hi", "targets": "Hello"}, "flan"),
        ({"instruction": "Hi", "output": "Hello"}, "alpaca"),
        ({"messages": [user("Hi"), assistant("Hello")]}, "messages"),
    ],
)
def test_labels_that_are_no_marks_are_named(imported: Import, columns: dict[str, Any], format: str) -> None:
    rows = [{**columns, "label": label} for label in ("good", "bad", "bad", None)]
    with pytest.raises(DatasetError) as refusal:
        imported(rows)
    assert str(refusal.value) == (
        "data.jsonl has labels that say neither good nor bad in 3 of 4 rows: bad, good. "
        "Write true or false, or 1 or 0. "
        f"To learn every row as an example, whatever its label, name the format: {format}."
    )


def test_numbers_beyond_one_and_zero_are_no_marks(imported: Import) -> None:
    rows = [{"prompt": f"{label}?", "completion": "Hello", "label": label} for label in (0, 1, 2)]
    with pytest.raises(DatasetError, match=r" in 1 of 3 rows: 2\. "):
        imported(rows)
