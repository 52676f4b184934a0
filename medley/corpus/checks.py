"""The twelve silent mistakes, looked for in one dataset with one base; `medley.corpus.mistakes` has the rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medley.corpus.chat_marks import row_marks
from medley.corpus.faults import MAX_NAMED
from medley.corpus.mistakes import MISTAKES, Mistake, Where
from medley.corpus.report import ImportReport, repetitions
from medley.corpus.tokens import Encoded, Row, answers_of, encode_rows
from medley.lm.prompts import encode_text, prompt_ids, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARKER = "7f3a91c2"  # a text that no template contains
FIX_WORDS = {True: "warning", False: "ok"}
UNSEEN: dict[Where, tuple[str, None, str]] = {
    "design": ("by design", None, "It cannot happen here."),
    "training": ("in training", None, "The trainer sees to it."),
}


@dataclass(frozen=True)
class Finding:
    """What was found of one mistake.

    Attributes:
        state: "ok", "warning", "repaired" or "refused"; "by design" or "in training" where rows cannot show it.
        count: rows (pairs, of preference data) concerned, or None where nothing is counted.
        text: one plain sentence.
    """

    mistake: Mistake
    state: str
    count: int | None
    text: str

    def to_json(self) -> dict[str, Any]:
        told = {"number": self.mistake.number, "mistake": self.mistake.name, "rule": self.mistake.rule}
        return {**told, "state": self.state, "count": self.count, "found": self.text}


@dataclass(frozen=True)
class Looked:
    """The rows of a dataset with their tokens, whole; of a pair both answers, one after the other."""

    rows: Sequence[Row]
    pieces: Sequence[tuple[Row, str | None, Encoded]]
    tokenizer: PreTrainedTokenizerBase
    max_length: int
    report: ImportReport

    def rows_with(self, is_so: Callable[[Row, str | None, Encoded], bool]) -> int:
        """Rows of which at least one answer is so."""
        return len({id(row) for row, part, encoded in self.pieces if is_so(row, part, encoded)})


Said = tuple[str, int | None, str]  # state, count, sentence


def check_dataset(
    report: ImportReport, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> list[Finding]:
    """One finding for each of the twelve, in order.

    Args:
        rows: of the train split, or a sample of it.

    Raises:
        DatasetError, IncompatibleError: as `medley.corpus.tokens.encode`.
    """
    has_template = bool(tokenizer.chat_template)
    pieces = [
        (row, part, encoded)
        for part in (answers_of(rows[0]) if rows and has_template else ())
        for row, encoded in zip(rows, encode_rows(rows, tokenizer, max_length=None, answer=part), strict=True)
    ]
    looked = Looked(rows, pieces, tokenizer, max_length, report)
    findings = []
    for mistake in MISTAKES:
        check = CHECKS.get(mistake.number)
        if check is None:
            said: Said = UNSEEN[mistake.where]
        elif not has_template and mistake.number not in (1, 12):
            said = "refused", None, "Not looked at: the base has no chat template."
        else:
            said = check(looked)
        findings.append(Finding(mistake, *said))
    return findings


def _template(looked: Looked) -> Said:
    if not looked.tokenizer.chat_template:
        return "refused", len(looked.rows), "The base has no chat template: take its instruct variant."
    return "ok", 0, "The base has a chat template."


def _ends(looked: Looked) -> Said:
    count = looked.rows_with(lambda row, part, encoded: part is not None and not encoded.ends_with_eos)
    return FIX_WORDS[count > 0], count, f"{count:,} of {len(looked.rows):,} rows do not end with an end-of-turn token."


def _prompts(looked: Looked) -> Said:
    def is_trained(row: Row, part: str | None, encoded: Encoded) -> bool:
        return any(encoded.trained[: len(prompt_ids(looked.tokenizer, row["prompt"]))])

    tokens = sum(len(encoded.trained) for *_, encoded in looked.pieces)
    trained = sum(sum(encoded.trained) for *_, encoded in looked.pieces)
    count = looked.rows_with(is_trained)
    share = f"{trained / max(1, tokens):.0%} of all tokens are trained"
    return FIX_WORDS[count > 0], count, f"{share}; {count:,} rows train a token of their prompt."


def _truncation(looked: Looked) -> Said:
    limit = looked.max_length
    cut = looked.rows_with(lambda row, part, encoded: encoded.full_length > limit)
    gone = looked.rows_with(lambda row, part, encoded: part is not None and not any(encoded.trained[:limit]))
    text = f"{cut:,} of {len(looked.rows):,} rows are longer than {limit} tokens; of {gone:,} no answer remains."
    return FIX_WORDS[cut > 0], cut, text


def _marks(looked: Looked) -> Said:
    begin = looked.tokenizer.bos_token_id
    count = looked.rows_with(lambda row, part, encoded: begin is not None and encoded.input_ids[:2] == [begin] * 2)
    special = {str(token) for token in looked.tokenizer.added_tokens_decoder.values() if token.special}
    holding = {id(row): row_marks(row, special) for row in looked.rows}
    marked = sum(map(bool, holding.values()))
    named = sorted({mark for marks in holding.values() for mark, _ in marks})[:MAX_NAMED]
    text = f"{count:,} rows begin with two begin tokens; {marked:,} hold marks of a template in their texts"
    return FIX_WORDS[count + marked > 0], count + marked, f"{text}: {', '.join(named)}." if named else f"{text}."


def _padding(looked: Looked) -> Said:
    padding = looked.tokenizer.pad_token_id

    def ends_with_padding(row: Row, part: str | None, encoded: Encoded) -> bool:
        return part is not None and encoded.ends_with_eos and encoded.input_ids[-1] == padding

    count = looked.rows_with(ends_with_padding)
    lost = looked.rows_with(lambda *piece: ends_with_padding(*piece) and not piece[2].trained[-1])
    text = f"{count:,} rows end with the padding token; of {lost:,} it is not trained."
    return FIX_WORDS[lost > 0], lost, text


def _border(looked: Looked) -> Said:
    def melts(row: Row, part: str | None, encoded: Encoded) -> bool:
        if part is None:
            return False
        whole = encode_text(
            looked.tokenizer, render(looked.tokenizer, [*row["prompt"], *row[part]], add_generation_prompt=False)
        )
        return whole[: len(encoded.input_ids)] != encoded.input_ids

    count = looked.rows_with(melts)
    return "repaired" if count else "ok", count, f"{count:,} rows were tokenised piece by piece, as in use."


def _system(looked: Looked) -> Said:
    added = default_system(looked.tokenizer)
    own = sum(row["prompt"][0]["role"] == "system" for row in looked.rows)
    if not added:
        return "ok", 0, f"The template adds none; {own:,} rows bring their own."
    count = len(looked.rows) - own
    text = f"The template adds a system turn to {count:,} rows; {own:,} bring their own."
    return FIX_WORDS[bool(own and count)], count, text


def default_system(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the template writes before the first user turn by itself, special tokens left out; "" for nothing."""
    first = {"role": "user", "content": "Hello"}
    talk = [first, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": MARKER}]
    alone = render(tokenizer, [{"role": "user", "content": MARKER}], add_generation_prompt=False)
    before = alone.partition(MARKER)[0]
    between = render(tokenizer, talk, add_generation_prompt=False).partition(MARKER)[0]
    shared = 0
    while shared < min(len(before), len(between)) and before[-1 - shared] == between[-1 - shared]:
        shared += 1
    added = before[: len(before) - shared]
    for token in tokenizer.get_added_vocab():
        added = added.replace(token, " ")
    return " ".join(added.split()) if re.search(r"\w", added) else ""


def _leaks(looked: Looked) -> Said:
    duplicates = looked.report.duplicates
    if not duplicates:
        return "warning", None, "Not counted: the dataset was imported by an older Medley. Import it again."
    count = duplicates["eval_near_train"] + duplicates["eval_overlap"]["found"]
    told = repetitions(duplicates)
    return FIX_WORDS[bool(told)], count, " ".join(told) or "Nothing of the eval split stands in the train split."


CHECKS: dict[int, Callable[[Looked], Said]] = {
    1: _template,
    2: _ends,
    3: _prompts,
    4: _truncation,
    5: _marks,
    6: _padding,
    8: _border,
    9: _system,
    12: _leaks,
}
