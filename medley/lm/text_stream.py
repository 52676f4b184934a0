"""Tokens to text while they arrive: only whole characters leave, and their sum is the decoded answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNFINISHED = "\ufffd"  # what a decoder writes for bytes that are not (yet) a character


class TextStream:
    """The text of one answer, token by token.

    A token may hold a part of a character (an emoji is four bytes), or change how the one before it reads (a space),
    so a few tokens before the newest are decoded with it and only what is new is given out.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._fresh_from = 0  # tokens of the window before here have been given out whole
        self._sent = 0  # characters of the window's text given out

    def push(self, token_id: int) -> str:
        """The text that this token completes, "" while a character is unfinished."""
        self._window.append(token_id)
        text = self._decode(self._window)
        whole = text.rstrip(UNFINISHED)
        new = whole[self._sent :]
        self._sent = max(self._sent, len(whole))
        if new and whole == text:
            self._slide()
        return new

    def _slide(self) -> None:
        """Forget the tokens before the last completed piece, so that decoding stays cheap in a long answer."""
        self._window = self._window[self._fresh_from :]
        self._fresh_from = len(self._window)
        self._sent = len(self._decode(self._window))

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
