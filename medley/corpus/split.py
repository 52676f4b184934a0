"""Which rows measure and which rows train: split by prompt, so that no question is on both sides."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

MIN_PROMPTS = 10  # from here on there is always something to measure on


def prompt_key(prompt: Sequence[Mapping[str, str]]) -> str:
    """A digest of what makes two prompts the same question: everything but the system turn, case and spacing."""
    turns = [f"{each['role']}\n{each['content']}" for each in prompt if each["role"] != "system"]
    return hashlib.sha256(" ".join("\n\n".join(turns).casefold().split()).encode()).hexdigest()[:32]


def beginnings(prompt: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The keys of a prompt cut after each of its user turns, the shortest first, and of the whole of it at the end."""
    ends = [place for place, each in enumerate(prompt[:-1], start=1) if each["role"] == "user"]
    return (*(prompt_key(prompt[:end]) for end in ends), prompt_key(prompt))


def family_keys(beginnings_by_row: Sequence[tuple[str, ...]]) -> list[str]:
    """One key a row; rows with the same key belong on one side of the split.

    It is the key of the shortest prompt in the data that the row's prompt goes on from: a conversation that contains
    the question of another row contains its answer as well.
    """
    whole = {keys[-1] for keys in beginnings_by_row}
    return [next(key for key in keys if key in whole) for keys in beginnings_by_row]


def eval_prompts(keys: Iterable[str], *, eval_share: float, seed: int) -> set[str]:
    """The prompts that go into the eval split: the ones whose hash with the seed is smallest.

    Depends neither on the order of the rows nor on the platform. With ten or more different prompts at least one is
    chosen; one prompt always stays to train on.

    Args:
        eval_share: share of the different prompts, in [0, 1).
    """
    different = set(keys)
    count = round(eval_share * len(different))
    if eval_share > 0 and len(different) >= MIN_PROMPTS:
        count = max(1, count)
    count = min(count, max(0, len(different) - 1))
    return set(sorted(different, key=lambda key: (_rank(key, seed), key))[:count])


def _rank(key: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{key}".encode()).digest()
