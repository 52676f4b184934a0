"""Pieces of text for a card: a user's words made harmless, numbers, papers, licences as the Hub writes them."""

import re
from collections.abc import Mapping
from typing import Any

from hub.leaks import masked, without_local_paths

HUB_LICENCES = {  # the Hub's own words; anything else is "other" with its name beside it
    *("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "openrail"),
    *("bigscience-openrail-m", "creativeml-openrail-m", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0"),
    *("agpl-3.0", "mpl-2.0", "odc-by", "odbl", "unlicense", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3"),
    *("gemma", "cc-by-3.0", "cc-by-sa-3.0", "cc-by-nc-nd-4.0", "artistic-2.0", "isc", "unknown"),
}
_ARXIV = re.compile(r"(?:arXiv:)?(\d{4}\.\d{4,5})")


def clean_text(text: str) -> str:
    """A user's text without tokens and without the folders of local paths (the last part of each path stays)."""
    return masked(without_local_paths(text))


def plain(value: Any) -> str:
    """A user's value as one line of Markdown text: nothing in it is markup, a local path or a token."""
    line = " ".join(clean_text(str(value)).split())[:500]
    return re.sub(r"([\\`*_\[\]<>])", r"\\\1", line)


def cell(value: Any) -> str:
    """A user's value as a cell of a table."""
    text = str(value)
    is_code = re.fullmatch(r"`[\w:.-]+`", text) is not None  # made above, not by a user
    return text if is_code else plain(value).replace("|", "\\|")


def sentence(text: str) -> str:
    """A user's text as one line that ends in a full stop."""
    return plain(text).rstrip(".") + "."


def number(value: Any) -> str:
    """A measured value as a cell: four digits of a fraction."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return cell(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def paper_text(paper: Any) -> str:
    """A paper in brackets, with a link where it is on arXiv; "" where none is named."""
    if not isinstance(paper, str) or not paper.strip():
        return ""
    found = _ARXIV.fullmatch(paper.strip())
    return f" ([arXiv:{found[1]}](https://arxiv.org/abs/{found[1]}))" if found else f" ({plain(paper)})"


def hub_licence(stated: Any) -> str | None:
    """The licence as the Hub writes it, "other" for one that it does not know, or None."""
    if not isinstance(stated, str) or not stated.strip():
        return None
    word = stated.strip().lower()
    return word if word in HUB_LICENCES else "other"


def licence_fields(stated: Any) -> dict[str, str]:
    """The card's metadata about the licence; empty where none is stated."""
    word = hub_licence(stated)
    if word is None:
        return {}
    return {"license": word, **({"license_name": plain(stated)[:60]} if word == "other" else {})}


def facts_table(facts: Mapping[str, Any]) -> list[str]:
    """The lines of a table without a head; what is None or empty is left out."""
    rows = [f"| {name} | {cell(value)} |" for name, value in facts.items() if value not in (None, "")]
    return ["| | |", "|---|---|", *rows, ""]
