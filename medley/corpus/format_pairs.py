"""Records that teach by preference: two answers to one prompt, and which of them is better.

Pairs are split turn by turn, never at the first character that differs: that would put the words which both answers
begin with into the prompt, and cut within a word.
"""

import re
from collections.abc import Sequence
from typing import Any

from medley.corpus import rules
from medley.corpus.format_record import (
    CONVERSATIONS,
    PROMPTS,
    Record,
    Row,
    Settings,
    as_turns,
    first_of,
    system_turn,
    task_turn,
)
from medley.corpus.rules import Message, message, read_turns
from medley.corpus.tally import RowDropped, Tally

SPEAKER = re.compile(r"^(Human|Assistant):", re.MULTILINE)
SUMMARY_QUESTION = "TL;DR:"  # what the annotators' summaries answer


def pair(prompt: list[Message], chosen: list[Message], rejected: list[Message], tally: Tally) -> Row:
    """A preference row. Answers given as whole conversations share their beginning: that is the prompt."""
    if len(chosen) > 1 or len(rejected) > 1:
        shared = 0
        while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
            shared += 1
        if prompt and chosen[: len(prompt)] == prompt == rejected[: len(prompt)]:
            prompt = []
        prompt, chosen, rejected = prompt + chosen[:shared], chosen[shared:], rejected[shared:]
    prompt, chosen, rejected = (rules.merged(part, tally) for part in (prompt, chosen, rejected))
    if not prompt or any([each["role"] for each in side] != ["assistant"] for side in (chosen, rejected)):
        raise RowDropped(rules.OTHER_PROMPT)
    prompt = rules.opened_by_user(prompt, tally)
    if prompt[-1]["role"] == "assistant":
        raise RowDropped(rules.ANSWERED_PROMPT)
    if not (chosen[0]["content"] and rejected[0]["content"]):
        raise RowDropped(rules.EMPTY_ANSWER)
    if chosen == rejected:
        raise RowDropped(rules.SAME_ANSWERS)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def preference(record: Record, settings: Settings) -> Row:
    """chosen and rejected, each an answer or a whole conversation; the prompt in a column of its own or in both."""
    name = first_of(record, (*CONVERSATIONS, *PROMPTS, "instruction"))
    prompt = system_turn(record, settings.tally)
    if name == "instruction":
        prompt.append(task_turn(record["instruction"], record.get("input"), settings.tally))
    elif name:
        prompt += as_turns(record[name], "user", settings.tally)
    chosen, rejected = (as_turns(record[side], "assistant", settings.tally) for side in ("chosen", "rejected"))
    return pair(prompt, chosen, rejected, settings.tally)


def block_preference(record: Record, settings: Settings) -> Row:
    """chosen_messages and rejected_messages, whole conversations with content blocks."""
    sides = (read_turns(record[f"{side}_messages"], settings.tally) for side in ("chosen", "rejected"))
    return pair([], *sides, settings.tally)


def is_transcript(text: Any) -> bool:
    """Whether a text is a dialogue between Human: and Assistant:."""
    return isinstance(text, str) and SPEAKER.match(text.lstrip()) is not None and "\nAssistant:" in text


def transcripts(record: Record, settings: Settings) -> Row:
    """Anthropic's hh-rlhf: chosen and rejected are dialogues that differ in their last answer only."""
    sides = []
    for name in ("chosen", "rejected"):
        turns = rules.merged(transcript_turns(record[name], settings.tally), settings.tally)
        if turns[-1]["role"] != "assistant":
            raise RowDropped(rules.NO_ANSWER, f"{name} ends with a question")
        sides.append(turns)
    chosen, rejected = sides
    if chosen[:-1] != rejected[:-1]:
        raise RowDropped(rules.OTHER_PROMPT)
    return pair(chosen[:-1], chosen[-1:], rejected[-1:], settings.tally)


def transcript_turns(text: str, tally: Tally) -> list[Message]:
    """The turns of a transcript. A marker counts at the start of a line only, so that text may mention it."""
    if not is_transcript(text):
        raise RowDropped(rules.NOT_IN_FORMAT, "a text that does not begin with Human: or Assistant:")
    _, *parts = SPEAKER.split(text)
    roles = [rules.ROLE_OF[speaker.lower()] for speaker in parts[::2]]
    return [message(role, said.strip(), tally) for role, said in zip(roles, parts[1::2], strict=True)]


def summaries(record: Record, settings: Settings) -> Row:
    """OpenAI's summarize-from-feedback comparisons: a post, two summaries, and the index of the better one."""
    info, choice, texts = record["info"], record["choice"], [each["text"] for each in record["summaries"]]
    post = info.get("post") or info.get("article") or ""
    question = "\n\n".join(part for part in (info.get("title"), post, SUMMARY_QUESTION) if part)
    if len(texts) != 2 or choice not in (0, 1):
        raise RowDropped(rules.NOT_IN_FORMAT, f"choice {choice!r} of {len(texts)} summaries")
    return _two_answers(question, texts, better=choice, tally=settings.tally)


def reddit_answers(record: Record, settings: Settings) -> Row:
    """The Stanford Human Preferences: a post and two replies; label 1 says that A is the better one."""
    if record["labels"] not in (0, 1):
        raise RowDropped(rules.NOT_IN_FORMAT, f"labels {record['labels']!r}")
    texts = [record["human_ref_A"], record["human_ref_B"]]
    return _two_answers(record["history"], texts, better=1 - int(record["labels"]), tally=settings.tally)


def rated_pair(record: Record, settings: Settings) -> Row:
    """HelpSteer's preferences: two responses and a strength, below 0 for the first and above 0 for the second."""
    strength = record["preference_strength"]
    if not isinstance(strength, (int, float)) or strength != strength:
        raise RowDropped(rules.NOT_IN_FORMAT, f"preference_strength {strength!r}")
    if strength == 0:
        raise RowDropped(rules.TIE)
    texts = [record["response_1"], record["response_2"]]
    return _two_answers(record["prompt"], texts, better=int(strength > 0), tally=settings.tally)


def _two_answers(question: Any, answers: Sequence[Any], *, better: int, tally: Tally) -> Row:
    prompt = as_turns(question, "user", tally)
    chosen, rejected = (as_turns(answers[place], "assistant", tally) for place in (better, 1 - better))
    return pair(prompt, chosen, rejected, tally)
