"""Chat messages to the exact text and tokens a base model was taught, and the tokens that end its turn."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medley.errors import BaseModelError, IncompatibleError

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

Message = Mapping[str, str]  # {"role": "system" | "user" | "assistant" | "tool", "content": …}


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
    """The messages as one text, by the tokenizer's own chat template.

    Args:
        messages: the conversation, oldest first.
        add_generation_prompt: True opens the assistant's turn at the end.

    Raises:
        BaseModelError: the base has no chat template.
        IncompatibleError: its template refuses these messages (for example a system message).
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise BaseModelError(
            "This base has no chat template, so it cannot be given chat messages. Use its instruct variant."
        )
    try:
        return tokenizer.apply_chat_template(
            [dict(message) for message in messages], tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        roles = ", ".join(str(message.get("role")) for message in messages)
        raise IncompatibleError(f"The base's chat template refuses these messages ({roles}): {error}.") from error


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """The tokens that ask the model for the next assistant turn. The template has written any BOS already."""
    return encode_text(tokenizer, render(tokenizer, messages, add_generation_prompt=True))


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Rendered text to tokens, with no special token added beside those written in it."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def end_token_ids(
    tokenizer: PreTrainedTokenizerBase, generation_config: GenerationConfig | None = None
) -> frozenset[int]:
    """Every token that ends an answer: the tokenizer's EOS, the model's own list, and the template's end of turn.

    Chat models often differ in these (Llama 3 ends a turn with <|eot_id|>, its EOS is <|end_of_text|>); a reader who
    stops at one of them only lets the model talk on in the user's name.
    """
    ids = {tokenizer.eos_token_id, turn_end_id(tokenizer)}
    listed = getattr(generation_config, "eos_token_id", None)
    ids.update(listed if isinstance(listed, (list, tuple)) else [listed])
    return frozenset(each for each in ids if each is not None)


def turn_end_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The special token that the chat template writes right after an assistant's text, or None."""
    if not tokenizer.chat_template:
        return None
    marker = secrets.token_hex(8)  # cannot occur in the template itself
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": marker}]
    try:
        _, found, tail = render(tokenizer, messages, add_generation_prompt=False).rpartition(marker)
    except IncompatibleError:
        return None
    ids = encode_text(tokenizer, tail.lstrip()) if found else []
    special = {id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
    return ids[0] if ids and ids[0] in special | set(tokenizer.all_special_ids) else None
