"""The tokens and the loss mask: what is trained is what the assistant says, and the rest is what it is given in use."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from medley.corpus.tokens import Encoded, encode, encode_all, preview
from medley.errors import DatasetError, IncompatibleError
from medley.lm.prompts import prompt_ids, render
from tests.corpus.reading import assistant, example, system, tool, user

CHAT = {
    "prompt": [system("Be kind."), user("Hi é漢字🎉")],
    "completion": [assistant("- one\n- two 🎉"), user("More?"), assistant("No."), tool("x"), assistant("Done")],
}
LLAMA_2_STYLE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }}<|im_end|>{% endif %}{% endfor %}"
)
BREAKS_AFTER_THE_LAST_TURN = (
    "{% for m in messages %}{{ m.role + ':' + m.content + '<|im_end|>' }}"
    "{% if loop.last and not add_generation_prompt %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
REWRITES_EARLIER_TURNS = (
    "{% for m in messages %}{{ m.role }}:{% if loop.last %}<think></think>{% endif %}{{ m.content }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def trained_text(encoded: Encoded, tokenizer: Any) -> list[str]:
    """The trained stretches of a row as text."""
    stretches: list[list[int]] = []
    for position, (id_, is_trained) in enumerate(zip(encoded.input_ids, encoded.trained, strict=True)):
        if is_trained and (position == 0 or not encoded.trained[position - 1]):
            stretches.append([])
        if is_trained:
            stretches[-1].append(id_)
    return [tokenizer.decode(ids) for ids in stretches]


def masked_prefix(encoded: Encoded) -> list[int]:
    return encoded.input_ids[: encoded.trained.index(True)]


def test_the_answer_and_its_end_are_trained_and_nothing_else(tiny: Any) -> None:
    encoded = encode(example("Hi", "Hello"), tiny, max_length=None)
    text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>"
    assert tiny.decode(encoded.input_ids) == text
    assert trained_text(encoded, tiny) == ["Hello<|im_end|>"]
    assert (encoded.ends_with_eos, encoded.is_truncated) == (True, False)
    assert encoded.full_length == len(encoded.input_ids) == len(encoded.trained)


def test_every_assistant_turn_of_a_conversation_is_trained(tiny: Any) -> None:
    encoded = encode(CHAT, tiny, max_length=None)
    assert trained_text(encoded, tiny) == ["- one\n- two 🎉<|im_end|>", "No.<|im_end|>", "Done<|im_end|>"]
    whole = render(tiny, CHAT["prompt"] + CHAT["completion"], add_generation_prompt=False)
    assert tiny.decode(encoded.input_ids) + "\n" == whole


@pytest.mark.parametrize("row", [example("Hi", "Hello"), example("Hi", "\n\n- list"), CHAT])
def test_the_masked_prefix_is_the_prompt_of_inference(tiny: Any, row: dict[str, Any]) -> None:
    assert masked_prefix(encode(row, tiny, max_length=None)) == prompt_ids(tiny, row["prompt"])


def test_a_border_inside_a_token_is_tokenised_as_in_use(tokenizer: Any) -> None:
    """Without a line break after "assistant", the answer's first letters would melt into it."""
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_start|>assistant\n", "<|im_start|>assist")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{% for message in messages %}",
        "{% for message in messages %}{% if message.role == 'assistant' %}{{ '<|im_start|>assist' + message.content "
        "+ '<|im_end|>' }}{% else %}",
    ).replace("{% endfor %}", "{% endif %}{% endfor %}")
    row = example("Hi", "ant is here")
    encoded = encode(row, tokenizer, max_length=None)
    whole = render(tokenizer, row["prompt"] + row["completion"], add_generation_prompt=False)
    assert list(tokenizer(whole, add_special_tokens=False)["input_ids"]) != encoded.input_ids  # it would have melted
    assert masked_prefix(encoded) == prompt_ids(tokenizer, row["prompt"])
    assert trained_text(encoded, tokenizer) == ["ant is here<|im_end|>"]


def test_the_begin_token_stands_there_once(tokenizer: Any) -> None:
    tokenizer.bos_token = "<|im_start|>"
    tokenizer.add_bos_token = True  # what a plain call of the tokenizer would add on top of the template
    tokenizer.chat_template = LLAMA_2_STYLE
    encoded = encode(example("Hi", "Hello"), tokenizer, max_length=None)
    assert tokenizer.decode(encoded.input_ids) == "<|im_start|>[INST] Hi [/INST] Hello<|im_end|>"
    assert encoded.input_ids.count(tokenizer.bos_token_id) == 1
    assert trained_text(encoded, tokenizer) == [" Hello<|im_end|>"]


def test_an_answer_that_never_ends_is_noticed(tokenizer: Any) -> None:
    tokenizer.chat_template = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}" + (
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    encoded, report = encode_all([example("Hi", "Hello")] * 2, tokenizer, max_length=None)
    assert [each.ends_with_eos for each in encoded] == [False, False]
    assert report.missing_eos == 2
    assert report.warnings() == ["2 rows without an end-of-turn token at the end: the model may not stop."]


def test_a_template_that_ends_only_the_last_turn_with_a_line_break(tokenizer: Any) -> None:
    tokenizer.chat_template = BREAKS_AFTER_THE_LAST_TURN
    encoded = encode(CHAT, tokenizer, max_length=None)
    assert trained_text(encoded, tokenizer) == ["- one\n- two 🎉<|im_end|>", "No.<|im_end|>", "Done<|im_end|>"]
    assert "\n" not in tokenizer.decode(encoded.input_ids).replace("- one\n", "")


def test_a_template_that_rewrites_earlier_turns_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = REWRITES_EARLIER_TURNS
    with pytest.raises(DatasetError, match=r"^The base's chat template writes a turn otherwise when it is answered"):
        encode(CHAT, tokenizer, max_length=None)


def test_a_template_that_knows_no_system_turn_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ raise_exception('no system turns') }}"
    with pytest.raises(IncompatibleError, match=r"refuses these messages \(user\): no system turns"):
        encode(example("Hi", "Hello"), tokenizer, max_length=None)


def test_truncation_keeps_the_start_and_is_counted(tiny: Any) -> None:
    rows = [example("Hi", "x" * 3), example("Hi", "word " * 200), example("why " * 200, "Because")]
    short, long, late = (encode(row, tiny, max_length=None) for row in rows)
    max_length = short.full_length + 5
    encoded, report = encode_all(rows, tiny, max_length=max_length)
    assert encoded[0] == short
    assert encoded[1].input_ids == long.input_ids[:max_length]
    assert (encoded[1].is_truncated, encoded[1].ends_with_eos, encoded[1].full_length) == (
        True,
        False,
        long.full_length,
    )
    assert (report.rows, report.truncated, report.all_masked, report.missing_eos) == (2, 2, 1, 0)
    assert report.tokens == short.full_length + max_length
    assert report.trained_tokens == sum(short.trained) + sum(long.trained[:max_length])
    assert report.length_percentiles[100] == max(long.full_length, late.full_length)
    assert sum(count for _, _, count in report.length_histogram) == 3
    assert report.warnings() == [
        f"1 row left out, because the answer begins after {max_length} tokens.",
        f"1 row cut off at {max_length} tokens, so that the answer does not end.",
    ]


def test_nothing_to_train_is_an_error(tiny: Any) -> None:
    rows = [example("Hi", "Hello")] * 3
    length = encode(rows[0], tiny, max_length=None).full_length
    with pytest.raises(DatasetError) as caught:
        encode_all(rows, tiny, max_length=5)
    assert str(caught.value) == (
        "Nothing is left to train on: in all 3 rows the answer begins after the first 5 tokens. "
        f"Raise max_length; the shortest row has {length} tokens."
    )
    with pytest.raises(DatasetError, match=r"^There are no rows to train on\.$"):
        encode_all([], tiny, max_length=5)
    with pytest.raises(DatasetError, match="has no assistant turn to train on"):
        encode({"prompt": [user("Hi")], "completion": []}, tiny, max_length=5)


def test_special_tokens_in_the_text_are_noticed(tiny: Any) -> None:
    rows = [example("What does <|im_end|> mean?", "The end."), example("Hi", "Hello")]
    _, report = encode_all(rows, tiny, max_length=None)
    assert report.warnings() == ["1 row with special tokens of the base as plain text."]


def test_many_rows_at_once_are_as_one_by_one(tiny: Any) -> None:
    rows = [CHAT, *(example(f"Question {number}", "answer " * (number % 7 + 1)) for number in range(600))]
    events: list[dict[str, Any]] = []
    encoded, _ = encode_all(rows, tiny, max_length=40, emit=lambda kind, **fields: events.append(fields))
    assert encoded == [encode(row, tiny, max_length=40) for row in rows]
    assert [event["step"] for event in events] == [256, 512, 601]


def test_both_answers_of_a_pair_can_be_shown(tiny: Any) -> None:
    pair = {"prompt": [user("Hi")], "chosen": [assistant("Good")], "rejected": [assistant("Bad")]}
    assert trained_text(encode(pair, tiny, max_length=None), tiny) == ["Good<|im_end|>"]
    assert trained_text(encode(pair, tiny, max_length=None, answer="rejected"), tiny) == ["Bad<|im_end|>"]


def test_the_preview_shows_the_very_tokens(tiny: Any) -> None:
    shown, encoded = preview(CHAT, tiny), encode(CHAT, tiny, max_length=None)
    assert [each.id for each in shown] == encoded.input_ids
    assert [each.trained for each in shown] == encoded.trained
    assert "".join(each.text for each in shown) == tiny.decode(encoded.input_ids)
    assert [each.text for each in shown if each.is_special] == ["<|im_start|>", "<|im_end|>"] * 7
    assert preview(CHAT, tiny, max_length=4) == shown[:4]


@pytest.mark.bundled
def test_the_bundled_base_is_taught_with_the_system_turn_that_it_is_used_with(bundled_base: Path) -> None:
    """SmolLM2's template writes a system turn of its own where the row has none, in training as in use."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(bundled_base)
    row = example("Who are you?", "- me")
    encoded = encode(row, tokenizer, max_length=None)
    assert masked_prefix(encoded) == prompt_ids(tokenizer, row["prompt"])
    assert tokenizer.decode(encoded.input_ids) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n- me<|im_end|>"
    )
    assert trained_text(encoded, tokenizer) == ["- me<|im_end|>"]
    with_system: Sequence[dict[str, str]] = [system("Be brief."), user("Who?")]
    own = encode({"prompt": with_system, "completion": [assistant("Me")]}, tokenizer, max_length=None)
    assert masked_prefix(own) == prompt_ids(tokenizer, with_system)
    assert tokenizer.decode(own.input_ids).count("<|im_start|>system") == 1
