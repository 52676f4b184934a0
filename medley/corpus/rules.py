"""The rules that turn wild conversations into clean ones, with the words the report uses for each.

A text is stripped of space around it; turns of one role in a row become one; the conversation begins with a user turn,
after at most one system turn, and ends with an assistant turn. What cannot be put right is dropped and counted.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from medley.corpus.tally import NAME_CHARACTERS, SURROGATE, RowDropped, Tally, one_line

Message = dict[str, str]

ROLES: dict[str, tuple[str, ...]] = {  # our role: the names it has in the wild
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "bot", "model", "function_call", "tool_call"),
    "tool": ("tool", "function", "observation", "tool_response", "function_response", "ipython"),
}
ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
SENDER_KEYS, TEXT_KEYS = ("role", "from"), ("content", "value")

ROLES_MAPPED = "role names mapped"
LEADING_ANSWER = "assistant turn before the first user turn removed"
MERGED = "turns of one role in a row merged"
CUT_END = "unanswered turn at the end removed"
HEADER = "Alpaca header removed from the prompt"
STRIPPED = "space around a text removed"
EMPTY_SYSTEM = "empty system turn removed"
BROKEN = "broken characters replaced"
BLOCKS = "content blocks joined"
TOOLS = "tools described in the system turn"
CALLS = "tool calls written as text"
LINE_BREAKS = r"line breaks written as \n restored"

EMPTY_ANSWER, EMPTY_QUESTION, NO_ANSWER = "empty answer", "empty question", "no answer"
UNKNOWN_ROLE, NOT_IN_FORMAT = "unknown role", "not in the format"
LATE_SYSTEM = "system turn inside the conversation"
NO_QUESTION = "does not begin with a user turn"
ANSWERED_PROMPT = "prompt ends with an answer"
TOOL_CALLS = "tool call that cannot be read"
DELETED, FAILED_REVIEW = "deleted message", "message that reviewers rejected"
LOWER_RANK, TIE = "ranked below another answer", "neither answer is better"
SAME_ANSWERS = "chosen and rejected are the same"
OTHER_PROMPT = "chosen and rejected answer different prompts"
BAD_STATUS, BAD_LABEL = 'status is not "ok"', "labelled as a bad answer"
UNKNOWN_LABEL = "label that says neither good nor bad"
CHAT_MARKS = "marks of a chat template in a text"
DUPLICATE = "exact duplicate"

ALPACA_HEADER = re.compile(
    r"^(?:Below is an instruction that describes a task"
    r"(?:, paired with an input that provides further context)?\. "
    r"Write a response that appropriately completes the request\.\s*)?"
    r"### Instruction:\s*(?P<instruction>.*?)(?:\s*### Input:\s*(?P<input>.*?))?\s*### Response:\s*$",
    re.DOTALL,
)
PLACEHOLDER = re.compile(r"\{\{\s*[A-Za-z_]\w{0,40}\s*\}\}")


def read_turns(value: Any, tally: Tally) -> list[Message]:
    """The messages of a list of turns, in any of the key names and role names we know; also as JSON text (CSV)."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowDropped(NOT_IN_FORMAT, "a list of turns that is not JSON") from None
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise RowDropped(NOT_IN_FORMAT, "no list of turns")
    return [read_turn(turn, tally) for turn in value]


def read_turn(turn: Any, tally: Tally) -> Message:
    """One message from {"role", "content"} or {"from", "value"}."""
    if not isinstance(turn, Mapping):
        raise RowDropped(NOT_IN_FORMAT, "a turn that is not an object")
    sender = next((turn[key] for key in SENDER_KEYS if key in turn), None)
    if sender is None or not any(key in turn for key in TEXT_KEYS):
        raise RowDropped(NOT_IN_FORMAT, f"a turn with the keys {', '.join(map(str, turn))}")
    role = ROLE_OF.get(str(sender).strip().lower())
    if role is None:
        name = one_line(str(sender), NAME_CHARACTERS)
        tally.values[UNKNOWN_ROLE][name] += 1
        raise RowDropped(UNKNOWN_ROLE, f"role '{name}'")
    if role != sender:
        tally.fix(ROLES_MAPPED, f"{sender} -> {role}")
    said = message(role, next(turn[key] for key in TEXT_KEYS if key in turn), tally)
    calls = turn.get("tool_calls")
    if not calls:
        return said
    tally.fix(CALLS, str(calls))
    return {"role": role, "content": "\n".join(filter(None, [said["content"], *map(_call_text, calls)]))}


def _call_text(call: Any) -> str:
    """One line of JSON with the function's name and arguments, as ShareGPT's function_call turns have it."""
    function = call.get("function", call) if isinstance(call, Mapping) else {}
    if "name" not in function:
        raise RowDropped(TOOL_CALLS, f"no name in {call}")
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            raise RowDropped(TOOL_CALLS, f"arguments that are not JSON: {arguments}") from None
    return json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)


def message(role: str, text: Any, tally: Tally) -> Message:
    """A message with clean text; content blocks [{"type": "text", "value" or "text": …}] become one text."""
    if isinstance(text, Sequence) and not isinstance(text, str):
        text = _join_blocks(text, tally)
    if text is None or text != text:  # missing, or the NaN that tables write for it
        text = ""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        text = str(text)  # a column of numbers, as in arithmetic data
    if not isinstance(text, str):
        raise RowDropped(NOT_IN_FORMAT, f"a text that is a {type(text).__name__}")
    if SURROGATE.search(text):
        tally.fix(BROKEN, text.encode("ascii", "backslashreplace").decode())
        text = SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
    stripped = text.strip()
    if role == "user" and ALPACA_HEADER.match(stripped):
        stripped = without_header(stripped, tally)
    elif stripped != text:
        tally.fix(STRIPPED, repr(text))
    return {"role": role, "content": stripped}


def _join_blocks(blocks: Sequence[Any], tally: Tally) -> str:
    texts = []
    for block in blocks:
        if not isinstance(block, Mapping) or block.get("type", "text") != "text":
            raise RowDropped(NOT_IN_FORMAT, "content that is not text")
        texts.append(str(block.get("text", block.get("value", ""))))
    tally.fix(BLOCKS, " | ".join(texts))
    return "\n".join(texts)


def without_header(prompt: str, tally: Tally) -> str:
    """The prompt without the Alpaca frame that some datasets bake into it; a chat template brings its own frame."""
    found = ALPACA_HEADER.match(prompt)
    if not found:
        return prompt
    tally.fix(HEADER, prompt)
    parts = [found["instruction"], found["input"]]
    return "\n\n".join(part.strip() for part in parts if part and part.strip())


def merged(messages: Sequence[Message], tally: Tally) -> list[Message]:
    """Neighbours of one role as one message."""
    result: list[Message] = []
    for each in messages:
        if result and result[-1]["role"] == each["role"]:
            tally.fix(MERGED, f"{each['role']}: {each['content']}")
            texts = [text for text in (result[-1]["content"], each["content"]) if text]
            result[-1] = {"role": each["role"], "content": "\n\n".join(texts)}
        else:
            result.append(each)
    return result


def opened_by_user(messages: Sequence[Message], tally: Tally) -> list[Message]:
    """The conversation from its first user turn on, after at most one system turn; no question or answer is empty."""
    system = [each for each in messages[:1] if each["role"] == "system"]
    turns = list(messages[len(system) :])
    while turns and turns[0]["role"] == "assistant":
        tally.fix(LEADING_ANSWER, turns.pop(0)["content"])
    if system and not system[0]["content"]:
        tally.fix(EMPTY_SYSTEM, "")
        system = []
    if any(each["role"] == "system" for each in turns):
        raise RowDropped(LATE_SYSTEM)
    if not turns or turns[0]["role"] != "user":
        raise RowDropped(NO_QUESTION)
    for each in turns:
        if not each["content"] and each["role"] in {"user", "assistant"}:
            raise RowDropped(EMPTY_ANSWER if each["role"] == "assistant" else EMPTY_QUESTION)
    return system + turns


def prompt_and_completion(messages: Sequence[Message], turns: str, tally: Tally) -> tuple[list[Message], list[Message]]:
    """A conversation split where training begins.

    Args:
        turns: "all" trains on every assistant turn, "last" on the last one only.
    """
    conversation = opened_by_user(merged(messages, tally), tally)
    answers = [place for place, each in enumerate(conversation) if each["role"] == "assistant"]
    if not answers:
        raise RowDropped(NO_ANSWER)
    if answers[-1] + 1 < len(conversation):
        tally.fix(CUT_END, conversation[-1]["content"])
    start = answers[0] if turns == "all" else answers[-1]
    return conversation[:start], conversation[start : answers[-1] + 1]
