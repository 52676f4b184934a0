"""Messages become the base's own text, and an answer ends at every token that ends a turn."""

import pytest
from transformers import GenerationConfig

from medley.errors import BaseModelError, IncompatibleError
from medley.lm.load import LoadedBase
from medley.lm.prompts import end_token_ids, prompt_ids, render, turn_end_id

MESSAGES = [{"role": "user", "content": "Ahoy"}]


@pytest.fixture
def tokenizer(tiny_base: object) -> object:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_base)


def test_the_template_writes_the_text(loaded_tiny: LoadedBase) -> None:
    text = render(loaded_tiny.tokenizer, MESSAGES, add_generation_prompt=True)
    assert text == "<|im_start|>user\nAhoy<|im_end|>\n<|im_start|>assistant\n"
    assert render(loaded_tiny.tokenizer, MESSAGES, add_generation_prompt=False) == "<|im_start|>user\nAhoy<|im_end|>\n"


def test_no_second_bos_is_added(tokenizer: object) -> None:
    from tokenizers.processors import TemplateProcessing

    start = tokenizer.convert_tokens_to_ids("<|im_start|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", start)]
    )
    assert tokenizer("x")["input_ids"][0] == start  # this tokenizer does add one by itself
    ids = prompt_ids(tokenizer, MESSAGES)
    assert ids.count(start) == 2  # the user's turn and the assistant's, as the template wrote them
    assert tokenizer.decode(ids) == "<|im_start|>user\nAhoy<|im_end|>\n<|im_start|>assistant\n"


def test_every_end_of_turn_counts(tokenizer: object) -> None:
    eos, end, start = (tokenizer.convert_tokens_to_ids(t) for t in ("<|endoftext|>", "<|im_end|>", "<|im_start|>"))
    tokenizer.eos_token = "<|endoftext|>"  # as in models whose EOS ends the text, not the turn
    assert turn_end_id(tokenizer) == end
    assert end_token_ids(tokenizer) == {eos, end}
    assert end_token_ids(tokenizer, GenerationConfig(eos_token_id=[start, eos])) == {start, eos, end}
    assert end_token_ids(tokenizer, GenerationConfig(eos_token_id=start)) == {start, eos, end}


def test_a_template_that_ends_turns_with_plain_text_has_no_end_token(tokenizer: object) -> None:
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    assert turn_end_id(tokenizer) is None


def test_a_base_without_a_template_says_so(tokenizer: object) -> None:
    tokenizer.chat_template = None
    message = r"^This base has no chat template, so it cannot be given chat messages\. Use its instruct variant\.$"
    with pytest.raises(BaseModelError, match=message):
        render(tokenizer, MESSAGES, add_generation_prompt=True)
    assert end_token_ids(tokenizer) == {tokenizer.eos_token_id}


def test_what_the_template_refuses_is_told(tokenizer: object) -> None:
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    message = r"^The base's chat template refuses these messages \(user\): System role not supported\.$"
    with pytest.raises(IncompatibleError, match=message):
        render(tokenizer, MESSAGES, add_generation_prompt=True)
