"""The twelve silent mistakes: each is counted where rows or tokens can show it, and each rule has a test."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from medley.corpus import ImportReport
from medley.corpus.checks import Finding, check_dataset, default_system
from medley.corpus.mistakes import MISTAKES, as_markdown
from tests.corpus.reading import assistant, example, system, user

ROOT = Path(__file__).resolve().parents[2]
PAIR = {"prompt": [user("Hi")], "chosen": [assistant("Good")], "rejected": [assistant("Bad " * 60)]}
MARKED = {**example("Hi", "Hello"), "label": False}
REPORT = ImportReport("alpaca", "sft", "x", {}, {}, {"rows": 1}, {"train": 1}, {"train": 1})
CLEAN = {"near": 0, "compared": 9, "eval_near_train": 0, "eval_overlap": {"found": 0}, "eval_rows": 3}
ADDS_A_SYSTEM_TURN = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nBe useful.<|im_end|>\n' }}{% endif %}"
)


def found(rows: Sequence[dict[str, Any]], tokenizer: Any, max_length: int = 100, **duplicates: Any) -> list[Finding]:
    report = ImportReport.from_json({**REPORT.to_json(), "duplicates": {**CLEAN, **duplicates}})
    return check_dataset(report, rows, tokenizer, max_length=max_length)


def test_the_table_has_twelve_rows_and_every_proof_is_a_test() -> None:
    assert [each.number for each in MISTAKES] == list(range(1, 13))
    for each in MISTAKES:
        file, function = each.proof.split("::")
        assert f"def {function}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), each.proof


def test_the_docs_have_the_table_as_it_is() -> None:
    assert as_markdown() in (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def test_clean_rows_are_clean(tiny: Any) -> None:
    findings = found([example("Hi", "Hello"), example("Why?", "Because.")], tiny)
    states = {each.mistake.number: each.state for each in findings}
    assert states == {
        **dict.fromkeys((1, 2, 3, 4, 5, 6, 8, 9, 12), "ok"),
        7: "by design",
        10: "in training",
        11: "in training",
    }
    assert re.fullmatch(r"\d\d % of all tokens are trained; 0 rows train a token of their prompt.".replace(" %", "%"),
                        findings[2].text)  # fmt: skip


def test_a_base_without_a_template_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    findings = found([example("Hi", "Hello")], tokenizer)
    assert (findings[0].state, findings[0].text) == (
        "refused",
        "The base has no chat template: take its instruct variant.",
    )
    assert [each.state for each in findings[1:6]] == ["refused"] * 5
    assert findings[11].state == "ok"


def test_answers_that_do_not_end_are_counted(tokenizer: Any) -> None:
    tokenizer.chat_template = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}" + (
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    finding = found([example("Hi", "Hello"), PAIR | {"completion": [assistant("x")]}], tokenizer)[1]
    assert (finding.state, finding.count) == ("warning", 2)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (example("Hi", "Hello " * 60), "1 of 2 rows are longer than 40 tokens; of 0 no answer remains."),
        (example("Hi " * 60, "Hello"), "1 of 2 rows are longer than 40 tokens; of 1 no answer remains."),
        ({"prompt": [user("Hi " * 60)]}, "1 of 2 rows are longer than 40 tokens; of 0 no answer remains."),
        (PAIR, "1 of 2 rows are longer than 40 tokens; of 0 no answer remains."),
        ({**MARKED, "prompt": [user("Hi " * 60)]}, "1 of 2 rows are longer than 40 tokens; of 1 no answer remains."),
    ],
    ids=["answer", "prompt", "bare", "rejected", "marked"],
)
def test_truncation_is_counted_for_every_kind(tiny: Any, row: dict[str, Any], text: str) -> None:
    short = {part: value if isinstance(value, bool) else [{**value[0], "content": "a"}] for part, value in row.items()}
    finding = found([short, row], tiny, max_length=40)[3]
    assert (finding.state, finding.count, finding.text) == ("warning", 1, text)


def test_padding_that_is_the_end_token_stays_trained(tokenizer: Any) -> None:
    tokenizer.pad_token = tokenizer.eos_token
    finding = found([example("Hi", "Hello")], tokenizer)[5]
    assert (finding.state, finding.count) == ("ok", 0)
    assert finding.text == "1 rows end with the padding token; of 0 it is not trained."


def test_two_begin_tokens_are_counted(tokenizer: Any) -> None:
    tokenizer.bos_token = "<|im_start|>"
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    finding = found([example("Hi", "Hello")], tokenizer)[4]
    assert (finding.state, finding.count, finding.text) == (
        "warning",
        1,
        "1 rows begin with two begin tokens; 0 hold marks of a template in their texts.",
    )


def test_rows_whose_border_melts_are_counted_as_repaired(tokenizer: Any) -> None:
    tokenizer.chat_template = tokenizer.chat_template.replace("'\n' + message", "' ' + message").replace(
        "assistant\n", "assistant "
    )
    rows = [example("Hi", "is it?"), example("Hi", "?")]
    finding = found(rows, tokenizer)[7]
    whole = tokenizer("assistant is it?", add_special_tokens=False)["input_ids"]
    melts = whole != [
        *tokenizer("assistant ", add_special_tokens=False)["input_ids"],
        *tokenizer("is it?", add_special_tokens=False)["input_ids"],
    ]
    assert melts
    assert (finding.state, finding.count) == ("repaired", 1)


def test_a_system_turn_of_the_template_is_counted(tokenizer: Any) -> None:
    assert default_system(tokenizer) == ""
    tokenizer.chat_template = ADDS_A_SYSTEM_TURN + tokenizer.chat_template
    assert default_system(tokenizer) == "system Be useful."
    own = {**example("Hi", "Hello"), "prompt": [system("Be kind."), user("Hi")]}
    assert found([example("Hi", "Hello")] * 2, tokenizer)[8].state == "ok"
    mixed = found([example("Hi", "Hello"), example("Ho", "Hello"), own], tokenizer)[8]
    assert (mixed.state, mixed.count) == ("warning", 2)
    assert mixed.text == "The template adds a system turn to 2 rows; 1 bring their own."


def test_what_the_eval_split_gives_away_is_told(tiny: Any) -> None:
    finding = found([example("Hi", "Hello")], tiny, eval_near_train=2, eval_overlap={"found": 1})[11]
    assert (finding.state, finding.count) == ("warning", 3)
    assert finding.text == (
        "2 of 3 eval prompts are nearly the same as a train prompt. "
        "1 of 3 eval rows share a run of words with a train row (13 words)."
    )
