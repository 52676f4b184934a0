"""What the registry knows of a merge's inputs beyond their files: how, and on which weights, they were trained."""

from collections.abc import Mapping
from typing import Any

BITS = {"nf4": "4 bits (NF4)", "bf16": "bf16", "fp16": "fp16", "fp32": "fp32"}
FOUR_BITS = "nf4"


def input_warnings(known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a person should know of inputs that were trained in different ways.

    Args:
        known: label to the metadata of each input's version; empty for one that is not in the registry.
    """
    return [*_precision_warnings(known), *_template_warnings(known), *_weights_warnings(known)]


def trained_on(known: Mapping[str, Mapping[str, Any]]) -> str | None:
    """What a merge records: the numbers that its inputs were trained on, joined where they differ, or None."""
    each_word = (about["trained_on"].split("+") for about in known.values() if about.get("trained_on"))
    words = sorted({word for words in each_word for word in words})
    return "+".join(words) or None


def _precision_warnings(known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    words = {label: about["trained_on"] for label, about in known.items() if about.get("trained_on")}
    quantised = [label for label, word in words.items() if FOUR_BITS in word]
    if not quantised:
        return []
    others = [f"'{label}' on {BITS.get(word, word)}" for label, word in words.items() if label not in quantised]
    listed = " and ".join(f"'{label}'" for label in quantised)
    if others:
        return [
            f"{listed} learned on the base in 4 bits (NF4), {' and '.join(others)}: their deltas correct slightly "
            "different weights. On the base in 16 bits the 4-bit part acts a little differently than it was trained; "
            "compare the result with its parents."
        ]
    return [
        f"{listed} learned on the base in 4 bits (NF4). Use the result on the base in 4 bits (--quant 4bit) to have "
        "what was trained; in 16 bits its answers differ slightly."
    ]


def _template_warnings(known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    hashes = {label: about["template_hash"] for label, about in known.items() if about.get("template_hash")}
    if len(set(hashes.values())) < 2:
        return []
    return [f"{_listed(hashes)} were trained with different chat templates; the result will see only one of them."]


def _weights_warnings(known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    digests = {
        label: about["base_weights_digest"] for label, about in known.items() if about.get("base_weights_digest")
    }
    if len(set(digests.values())) < 2:
        return []
    return [
        f"{_listed(digests)} were trained on bases of one name whose weights differ (another conversion or another "
        "download), so their deltas do not quite belong together."
    ]


def _listed(labels: Mapping[str, str]) -> str:
    quoted = [f"'{label}'" for label in labels]
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"
