"""Marks that a chat template writes, found in the texts of a dataset: they would stand there twice.

A tokenizer takes such a mark for the real one even inside a text: a turn that nobody took, an end in mid-sentence. Rows
that hold one are left out of an import; see `medley.corpus.faults` for how many may be.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

MARK = re.compile(
    r"<\|[a-z][a-z0-9_]*\|>"  # <|im_start|> ChatML, <|eot_id|> and <|start_header_id|> Llama 3, <|user|> Zephyr
    r"|</?(?:start|end)_of_turn>"  # Gemma
    r"|\[/?INST\]|<</?SYS>>"  # Llama 2 and Mistral
    r"|</s>\s*<s>"
)
BEGIN, END = "<s>", "</s>"  # of a text for Llama 2 and Mistral; within one HTML's struck words


def marks_in(text: str, special: Collection[str] = ()) -> list[str]:
    """The marks of chat templates in a text, in no order, each once.

    Args:
        special: further tokens that mean something to a certain base.
    """
    found = {*MARK.findall(text), *(token for token in special if token in text)}
    bare = text.strip()
    if bare.startswith(BEGIN) and bare.find(END) in (-1, len(bare) - len(END)):
        found.add(BEGIN)
    if bare.endswith(END) and bare.rfind(BEGIN) <= 0:
        found.add(END)
    return sorted(found)


def row_marks(row: Mapping[str, Any], special: Collection[str] = ()) -> list[tuple[str, str]]:
    """(mark, the text that holds it) for every text of a row with a mark."""
    texts = [message["content"] for part in row.values() if isinstance(part, list) for message in part]
    return [(mark, text) for text in texts for mark in marks_in(text, special)]
