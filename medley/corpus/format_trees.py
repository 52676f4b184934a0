"""OpenAssistant's trees: a prompt, its replies, the replies to those; as threads to learn from, or as ranked pairs.

A message that was deleted or that its reviewers rejected is left out with all that follows it, and counts once. The
converters are given parts of a tree: {"path": [messages]} from the prompt down to one message, or {"fault": why}.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from medley.corpus import rules
from medley.corpus.format_pairs import pair
from medley.corpus.format_record import Record, Row, Settings
from medley.corpus.rules import Message, read_turn
from medley.corpus.tally import RowDropped, Tally

MAX_PAIRS_PER_PROMPT = 3  # of five ranked replies ten pairs could be made, and one prompt would outweigh the others
Node = Mapping[str, Any]


def is_tree(record: Record) -> bool:
    """Whether a record is a message tree."""
    prompt = record.get("prompt")
    return isinstance(prompt, Mapping) and "replies" in prompt


def threads(record: Record) -> list[Record]:
    """The parts of a tree that teach by example.

    Of several answers the best-ranked one is followed (the first, where nobody ranked them). Where a conversation
    forks, because several people went on from one answer, each further branch is a thread of its own that trains only
    on what is new in it: every answer is trained on once.
    """
    return list(_threads([record["prompt"]], start=1))


def _threads(path: list[Node], start: int) -> Iterator[Record]:
    """Threads that begin with this path and train from the turn at `start` on, and what is left out on the way."""
    fault = _fault(path[-1])
    if fault:
        yield fault
        return
    replies = _replies(path[-1])
    usable = [reply for reply in replies if not _fault(reply)]
    if path[-1]["role"] == "prompter":
        followed, why = sorted(usable, key=_rank)[:1], rules.LOWER_RANK
    else:
        followed, why = [reply for reply in usable if _is_answered(reply)] or usable[:1], rules.NO_ANSWER
    for reply in replies:
        if reply not in followed:
            yield _fault(reply) or {"fault": why, "text": str(reply["text"])}
    if not followed:
        yield {"path": path, "start": start}
    for place, reply in enumerate(followed):
        yield from _threads([*path, reply], start if place == 0 else len(path) + 1)


def ranked_pairs(record: Record) -> list[Record]:
    """The parts of a tree that teach by preference: pairs of ranked answers to one prompt, the better one first.

    Of one prompt at most MAX_PAIRS_PER_PROMPT, those that are furthest apart first. Any answer may stand on the path.
    """
    return list(_pairs([record["prompt"]]))


def _pairs(path: list[Node]) -> Iterator[Record]:
    fault = _fault(path[-1])
    if fault:
        yield fault
        return
    replies = _replies(path[-1])
    if path[-1]["role"] == "prompter":
        ranked = sorted((each for each in replies if _is_ranked(each) and not _fault(each)), key=_rank)
        different = [(good, bad) for good, bad in combinations(ranked, 2) if good["rank"] < bad["rank"]]
        different.sort(key=lambda both: both[0]["rank"] - both[1]["rank"])
        for good, bad in different[:MAX_PAIRS_PER_PROMPT]:
            yield {"path": path, "chosen": good, "rejected": bad}
    for reply in replies:
        yield from _pairs([*path, reply])


def thread(record: Record, settings: Settings) -> Row:
    """The row of a part that `threads` gave."""
    messages = rules.opened_by_user(_messages(record, settings.tally), settings.tally)
    if settings.turns == "last":
        prompt, completion = rules.prompt_and_completion(messages, "last", settings.tally)
        return {"prompt": prompt, "completion": completion}
    prompt, completion = rules.prompt_and_completion(messages[record["start"] - 1 :], "all", settings.tally)
    return {"prompt": messages[: record["start"] - 1] + prompt, "completion": completion}


def ranked_pair(record: Record, settings: Settings) -> Row:
    """The row of a part that `ranked_pairs` gave."""
    prompt = _messages(record, settings.tally)
    chosen, rejected = ([_message(record[side], settings.tally)] for side in ("chosen", "rejected"))
    return pair(prompt, chosen, rejected, settings.tally)


def _messages(record: Record, tally: Tally) -> list[Message]:
    if "fault" in record:
        raise RowDropped(record["fault"], record["text"])
    return [_message(node, tally) for node in record["path"]]


def _message(node: Node, tally: Tally) -> Message:
    return read_turn({"role": node["role"], "content": node["text"]}, tally)


def _replies(node: Node) -> Sequence[Node]:
    return node.get("replies") or []


def _is_answered(node: Node) -> bool:
    return any(not _fault(reply) for reply in _replies(node))


def _is_ranked(node: Node) -> bool:
    return isinstance(node.get("rank"), int)


def _rank(node: Node) -> int:
    """0 for the best reply; those without a rank stand last, in their order."""
    return node["rank"] if _is_ranked(node) else 10**6


def _fault(node: Any) -> Record | None:
    """Why a message cannot be used, as a part that is counted; None when it can."""
    if not isinstance(node, Mapping) or not {"role", "text"} <= set(node):
        return {"fault": rules.NOT_IN_FORMAT, "text": "a message without role or text"}
    if node.get("deleted") is True:
        return {"fault": rules.DELETED, "text": str(node["text"])}
    if node.get("review_result") is False:
        return {"fault": rules.FAILED_REVIEW, "text": str(node["text"])}
    return None
