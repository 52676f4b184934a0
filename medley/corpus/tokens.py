"""The one place that turns a row into tokens and a loss mask: the preview shows them, the trainers train on them.

A token is trained when it belongs to an assistant turn of the answer, the end-of-turn token included. Everything before
is exactly what the model is given at inference (`medley.lm.prompts`), token by token: a prompt that is tokenised
otherwise in training than in use is learned in vain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from medley.corpus.token_report import TokenReport, report_tokens
from medley.errors import DatasetError
from medley.events import Emit, ignore_event
from medley.lm.prompts import encode_text, end_token_ids, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANSWER_PARTS = ("completion", "chosen", "rejected")
BATCH_ROWS = 256  # rows tokenised in one call, and between two progress events
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Encoded:
    """One row as tokens.

    Attributes:
        input_ids: prompt and answer, up to the token that ends the last answer.
        trained: True where the loss counts, one flag a token.
        is_truncated: True when the row was longer than `max_length` and its end was cut off.
        ends_with_eos: True when the last token ends the turn, so that the model learns to stop.
        full_length: tokens before truncation.
    """

    input_ids: list[int]
    trained: list[bool]
    is_truncated: bool
    ends_with_eos: bool
    full_length: int


@dataclass(frozen=True)
class PreviewToken:
    """A token as it is shown: characters that take several tokens stand whole at the last of them."""

    text: str
    id: int
    trained: bool
    is_special: bool


def encode(
    row: Row, tokenizer: PreTrainedTokenizerBase, *, max_length: int | None, answer: str | None = None
) -> Encoded:
    """The tokens and loss mask of one row.

    Args:
        row: a row as `read_rows` gives it.
        max_length: tokens kept, from the start; None keeps all.
        answer: "completion", "chosen" or "rejected"; None takes the completion, or the chosen answer. A bare prompt has
            none: its tokens are what the model is given, and nothing is trained.

    Raises:
        DatasetError: the chat template writes earlier turns otherwise once a later one follows.
        IncompatibleError: the chat template refuses the roles of the row.
    """
    return _encode_batch([row], tokenizer, max_length, answer, end_token_ids(tokenizer))[0]


def encode_rows(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None,
    answer: str | None = None,
    emit: Emit = ignore_event,
) -> list[Encoded]:
    """As `encode`, for many rows at once, in order; none is left out."""
    ends, encoded = end_token_ids(tokenizer), []
    for start in range(0, len(rows), BATCH_ROWS):
        encoded += _encode_batch(rows[start : start + BATCH_ROWS], tokenizer, max_length, answer, ends)
        emit("progress", step=min(start + BATCH_ROWS, len(rows)), total=len(rows), text="Tokenising")
    return encoded


def encode_all(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None,
    answer: str | None = None,
    emit: Emit = ignore_event,
) -> tuple[list[Encoded], TokenReport]:
    """All rows that have something to learn from, in order, and what was counted on the way.

    A row is dropped when truncation leaves no token of its answer; the report says how many were.

    Raises:
        DatasetError: no row is left, or as `encode`.
        IncompatibleError: the chat template refuses the roles of a row.
    """
    encoded = encode_rows(rows, tokenizer, max_length=max_length, answer=answer, emit=emit)
    report = report_tokens(rows, encoded, tokenizer, max_length=max_length)
    kept = [each for row, each in zip(rows, encoded, strict=True) if any(each.trained) or is_bare(row)]
    if not kept:
        raise DatasetError(_nothing_to_train(rows, encoded, max_length))
    return kept, report


def is_bare(row: Row) -> bool:
    """Whether a row is a prompt without an answer."""
    return answers_of(row) == (None,)


def answers_of(row: Row) -> tuple[str | None, ...]:
    """The parts of a row that answer its prompt, each a sequence of its own; (None,) for a bare prompt."""
    return tuple(part for part in ANSWER_PARTS if part in row) or (None,)


def token_reports(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, *, max_length: int | None
) -> dict[str, TokenReport]:
    """What tokenising finds for each part that answers ("prompt" where nothing does); {} without rows.

    Raises:
        DatasetError, IncompatibleError: as `encode`.
    """
    reports = {}
    for part in answers_of(rows[0]) if rows else ():
        encoded = encode_rows(rows, tokenizer, max_length=max_length, answer=part)
        reports[part or "prompt"] = report_tokens(rows, encoded, tokenizer, max_length=max_length)
    return reports


def _nothing_to_train(rows: Sequence[Row], encoded: Sequence[Encoded], max_length: int | None) -> str:
    if not rows:
        return "There are no rows to train on."
    shortest = min(each.full_length for each in encoded)
    return (
        f"Nothing is left to train on: in all {len(rows)} rows the answer begins after the first {max_length} tokens. "
        f"Raise max_length; the shortest row has {shortest} tokens."
    )


def preview(
    row: Row, tokenizer: PreTrainedTokenizerBase, *, max_length: int | None = None, answer: str | None = None
) -> list[PreviewToken]:
    """The very tokens that training would see for this row, in order; see `encode` for arguments and errors."""
    encoded = encode(row, tokenizer, max_length=max_length, answer=answer)
    special = special_ids(tokenizer)
    texts = _texts(encoded.input_ids, tokenizer)
    return [
        PreviewToken(text, id_, is_trained, id_ in special)
        for text, id_, is_trained in zip(texts, encoded.input_ids, encoded.trained, strict=True)
    ]


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens with a meaning of their own: begin, end, roles."""
    added = {id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(added | set(tokenizer.all_special_ids))


def _texts(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """What each token adds to the text; a token in the middle of a character adds nothing, the last one all of it."""
    pending: list[int] = []
    for position, id_ in enumerate(ids):
        pending.append(id_)
        text = tokenizer.decode(pending, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        is_open = text.endswith("�") and len(pending) < 4 and position + 1 < len(ids)  # UTF-8: at most 4 bytes
        if is_open:
            yield ""
        else:
            yield text
            pending = []


def _encode_batch(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    answer: str | None,
    ends: frozenset[int],
) -> list[Encoded]:
    prefixes_by_row = [_prefixes(row, tokenizer, answer) for row in rows]
    flat = [text for prefixes in prefixes_by_row for text in prefixes]
    ids = iter(tokenizer(flat, add_special_tokens=False, verbose=False)["input_ids"]) if flat else iter(())
    encoded = []
    for prefixes in prefixes_by_row:
        prefix_ids = [list(next(ids)) for _ in prefixes]
        encoded.append(_mask(_segments(prefixes, prefix_ids, tokenizer), ends, max_length))
    return encoded


def _prefixes(row: Row, tokenizer: PreTrainedTokenizerBase, answer: str | None) -> list[str]:
    """The growing text of a row: up to where an assistant turn opens, up to its end, up to the next opening, …

    Each is a prefix of the following one. The odd steps (opening to end) are what the model has to say itself.
    """
    if is_bare(row):
        return [render(tokenizer, row["prompt"], add_generation_prompt=True)]
    answer = answer or ("completion" if "completion" in row else "chosen")
    messages, prefixes = list(row["prompt"]), [""]
    for message in row[answer]:
        if message["role"] == "assistant":
            opened = render(tokenizer, messages, add_generation_prompt=True)
            closed = render(tokenizer, [*messages, message], add_generation_prompt=False)
            if not opened.startswith(prefixes[-1]):
                prefixes[-1] = prefixes[-1].rstrip()  # some templates end only the last turn with a line break
            if not (opened.startswith(prefixes[-1]) and closed.startswith(opened)):
                raise DatasetError(
                    "The base's chat template writes a turn otherwise when it is answered or followed by another one, "
                    "so the tokens to train cannot be told from the prompt. Take a base with a plainer template, or, "
                    "for conversations, import the data with turns 'last'."
                )
            prefixes += [opened, closed]
        messages.append(message)
    if len(prefixes) == 1:
        raise DatasetError(f"A row has no assistant turn to train on: its {answer} must begin with one.")
    return prefixes[1:]


def _segments(
    prefixes: Sequence[str], prefix_ids: Sequence[list[int]], tokenizer: PreTrainedTokenizerBase
) -> list[list[int]]:
    """The tokens each prefix adds to the one before.

    The row is tokenised as one text where its prefixes agree with that. Where a token would straddle a border, each
    piece is tokenised on its own instead: that is what happens in use, where the model is given the prompt alone.
    """
    whole = prefix_ids[-1]
    if all(whole[: len(ids)] == ids for ids in prefix_ids):
        borders = [0, *map(len, prefix_ids)]
        return [whole[start:end] for start, end in pairwise(borders)]
    cuts = [0, *map(len, prefixes)]
    return [encode_text(tokenizer, prefixes[-1][start:end]) for start, end in pairwise(cuts)]


def _mask(segments: Sequence[list[int]], ends: frozenset[int], max_length: int | None) -> Encoded:
    """Tokens and mask of a row; what the template writes after the end of a turn (a line break, say) is not trained."""
    ids: list[int] = []
    trained: list[bool] = []
    has_end = False
    for number, segment in enumerate(segments):
        if number % 2 == 0:  # read, not said: prompt, or a user turn in between
            ids += segment
            trained += [False] * len(segment)
            continue
        end_positions = [position for position, id_ in enumerate(segment) if id_ in ends]
        has_end = bool(end_positions)
        said = end_positions[-1] + 1 if has_end else len(segment)
        ids += segment
        trained += [True] * said + [False] * (len(segment) - said)
    while ids and has_end and not trained[-1]:
        del ids[-1], trained[-1]
    is_truncated = max_length is not None and len(ids) > max_length
    return Encoded(ids[:max_length], trained[:max_length], is_truncated, has_end and not is_truncated, len(ids))
