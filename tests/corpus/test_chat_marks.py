"""Texts that hold a chat template's marks already are not taught twice over: found, counted, told, left out."""

from collections.abc import Callable
from typing import Any

import pytest

from medley.corpus import ImportReport
from medley.corpus.chat_marks import marks_in
from medley.corpus.checks import check_dataset
from medley.errors import DatasetError
from tests.corpus.reading import Imported, alpaca, assistant, example, user

Import = Callable[..., Imported]


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("<|im_start|>user\nHi<|im_end|>", ["<|im_end|>", "<|im_start|>"]),
        ("<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
         ["<|end_header_id|>", "<|eot_id|>", "<|start_header_id|>"]),
        ("<start_of_turn>user\nHi<end_of_turn>", ["<end_of_turn>", "<start_of_turn>"]),
        ("<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST]", ["<<SYS>>", "<</SYS>>", "<s>", "[/INST]", "[INST]"]),
        ("Hello </s>\n", ["</s>"]),
        ("Hello </s><s> Bye", ["</s><s>"]),
        ("Hello\n<|user|>\nBye", ["<|user|>"]),
        ("<s>5 EUR</s> now 3 EUR", []),
        ("It was 5 EUR, now <s>4 EUR</s>", []),
        ("xs <| f |> g, a < b and [INSTALL] it", []),
    ],
)  # fmt: skip
def test_marks_are_found_and_other_brackets_are_not(text: str, marks: list[str]) -> None:
    assert marks_in(text) == sorted(marks)


def test_what_a_base_takes_for_a_special_token_is_a_mark_too() -> None:
    assert marks_in("Hi <sep> you", {"<sep>", "<pad>"}) == ["<sep>"]


def test_rows_with_marks_are_left_out_and_told(imported: Import) -> None:
    rows = [alpaca(f"{number}?") for number in range(38)]
    asked = alpaca("A long question before it, " * 3 + "<|im_start|>user")
    result = imported([*rows, asked, alpaca("B?", "Yes.<|eot_id|>")])
    assert len(result.train) == 38
    assert result.report.dropped == {"marks of a chat template in a text": 2}
    shown = "<|im_start|> in n before it, A long question before it, <|im_start|>user"  # 40 characters before it
    assert result.report.examples["marks of a chat template in a text"] == [
        {"row": 39, "text": shown},
        {"row": 40, "text": "<|eot_id|> in Yes.<|eot_id|>"},
    ]
    assert result.report.warnings()[0] == (
        f"2 of 40 rows hold marks of a chat template in their texts and were left out, for example row 39: {shown}"
    )


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "<|im_start|>user\nHi<|im_end|>", "completion": "Hello"},
        {"messages": [user("Hi"), assistant("Hello<|im_end|>"), user("<|im_start|>"), assistant("Bye")]},
        {"prompt": "Hi", "chosen": "Good<|im_end|>", "rejected": "<|im_start|>Bad"},
        {"prompt": "Hi<|im_end|><|im_start|>", "completion": "No", "label": False},
        {"prompt": "<|im_start|>user\nHi<|im_end|>"},
    ],
    ids=["examples", "conversation", "pair", "marked", "prompt"],
)
def test_a_file_of_rendered_texts_is_refused(imported: Import, record: dict[str, Any]) -> None:
    with pytest.raises(DatasetError) as refusal:
        imported([record])
    assert str(refusal.value) == (
        "data.jsonl has the marks of a chat template within its texts in 1 of 1 rows: <|im_end|>, <|im_start|>. "
        "The base's template writes its own, so they would stand there twice. "
        "Import the texts without them, one message a turn."
    )


def test_the_check_finds_them_in_a_dataset_made_elsewhere(tiny: Any) -> None:
    report = ImportReport("alpaca", "sft", "x", {}, {}, {"rows": 3}, {"train": 3}, {"train": 3})
    rows = [example("Hi", "Hello"), example("Hi [INST]", "Hello"), example("Hi<|im_end|>", "<|im_end|>")]
    finding = check_dataset(report, rows, tiny, max_length=100)[4]
    assert (finding.state, finding.count) == ("warning", 2)
    assert finding.text == (
        "0 rows begin with two begin tokens; 2 hold marks of a template in their texts: <|im_end|>, [INST]."
    )
