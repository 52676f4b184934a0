"""Streamed text is whole characters only, and its pieces join to the decoded answer."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medley.lm.load import LoadedBase
from medley.lm.text_stream import TextStream


def byte_ids(loaded_tiny: LoadedBase, text: str) -> list[int]:
    """One token for each byte: the hardest split there is."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    return [loaded_tiny.tokenizer.convert_tokens_to_ids(letter) for word, _ in letters for letter in word]


def test_an_emoji_leaves_when_its_last_byte_is_there(loaded_tiny: LoadedBase) -> None:
    ids = byte_ids(loaded_tiny, "a🦜b")
    assert len(ids) == 6  # 1 + 4 + 1 bytes
    stream = TextStream(loaded_tiny.tokenizer)
    assert [stream.push(each) for each in ids] == ["a", "", "", "", "🦜", "b"]


def test_special_tokens_leave_no_text(loaded_tiny: LoadedBase) -> None:
    stream = TextStream(loaded_tiny.tokenizer)
    special = loaded_tiny.tokenizer.convert_tokens_to_ids("<|im_start|>")
    ids = byte_ids(loaded_tiny, "hé")
    assert [stream.push(each) for each in (ids[0], special, *ids[1:])] == ["h", "", "", "é"]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40))
def test_the_pieces_join_to_the_text(loaded_tiny: LoadedBase, text: str) -> None:
    text = text.replace("\ufffd", "")
    stream = TextStream(loaded_tiny.tokenizer)
    assert "".join(stream.push(each) for each in byte_ids(loaded_tiny, text)) == text


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(st.integers(min_value=0, max_value=300), max_size=60))
def test_any_tokens_join_to_what_the_tokenizer_decodes(loaded_tiny: LoadedBase, ids: list[int]) -> None:
    stream = TextStream(loaded_tiny.tokenizer)
    pieces = [stream.push(each) for each in ids]
    whole = loaded_tiny.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert "".join(pieces) == whole.rstrip("\ufffd")  # bytes that never became a character stay back


@pytest.mark.parametrize("words", [200])
def test_a_long_answer_is_decoded_in_small_windows(loaded_tiny: LoadedBase, words: int) -> None:
    stream = TextStream(loaded_tiny.tokenizer)
    widths = []
    for each in byte_ids(loaded_tiny, "ahoy matey " * words):
        stream.push(each)
        widths.append(len(stream._window))
    assert max(widths) <= 3
