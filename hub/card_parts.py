"""Sections that the cards of every kind share: recipe, what it was made from, data, measured results."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hub.card_text import cell, clean_text, number, plain
from hub.reward_words import is_reward, judged
from medley.lm.adapter_file import hub_id

if TYPE_CHECKING:
    from hub.records import Version
    from hub.registry import Registry


def hub_datasets(registry: "Registry", version: "Version") -> list[str]:
    """The Hub ids of the datasets among its ancestors."""
    sources = [data.metadata.get("source") for data in ancestors(registry, version, "dataset")]
    return sorted(
        {found for source in sources if isinstance(source, str) and "/" in source and (found := hub_id(source))}
    )


def ancestors(registry: "Registry", version: "Version", kind: str) -> "list[Version]":
    """All versions of a kind that this one was made from, directly or through others; the nearest first."""
    found: dict[str, Version] = {}
    waiting = [version]
    while waiting:
        for _, parent in registry.parents(waiting.pop(0).id):
            if parent is not None and parent.id not in found:
                found[parent.id] = parent
                waiting.append(parent)
    return [each for each in found.values() if each.kind == kind]


def recipe_section(version: "Version") -> str:
    """The recipe in a fence that it cannot close, or "" where there is none."""
    if not version.recipe:
        return ""
    text = clean_text(version.recipe).strip("\n")
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"## Recipe\n\n{fence}yaml\n{text}\n{fence}\n"


def lineage_section(registry: "Registry", version: "Version") -> str:
    """The versions that it was made from, with their digests."""
    rows = [
        f"| {role} | {cell(parent.label) if parent else 'no longer on record'} | "
        f"{f'`sha256:{parent.id[:16]}…`' if parent else ''} |"
        for role, parent in registry.parents(version.id)
    ]
    return "\n".join(["## Made from", "", "| role | version | digest |", "|---|---|---|", *rows, ""]) if rows else ""


def data_section(registry: "Registry", version: "Version") -> str:
    """The datasets among its ancestors."""
    used = ancestors(registry, version, "dataset")
    lines = [f"* **{plain(data.label)}**: {describe_data(data.metadata)}" for data in used]
    return "\n".join(["## Data", "", *lines, ""]) if lines else ""


def describe_data(about: Mapping[str, Any]) -> str:
    """One line about a dataset: rows, format, licence, source."""
    rows = about.get("rows")
    count = sum(value for value in rows.values() if isinstance(value, int)) if isinstance(rows, Mapping) else rows
    parts = [f"{count:,} rows" if isinstance(count, int) else ""]
    parts.append(f"format {plain(about['format'])}" if about.get("format") else "")
    parts.append(f"licence {plain(about['licence'])}" if about.get("licence") else "licence not stated")
    source = about.get("source")
    if isinstance(source, str) and "/" in source and hub_id(source):
        parts.append(f"from [{source}](https://huggingface.co/datasets/{source})")
    return ", ".join(part for part in parts if part) + "."


def results_section(version: "Version") -> str:
    """The measured results on record, or that there are none."""
    metrics = version.metadata.get("metrics")
    if not isinstance(metrics, Mapping) or not metrics:
        return "## Measured results\n\nNone on record.\n"
    rows = [f"| {cell(name)} | {number(value)} |" for name, value in sorted(metrics.items())]
    verdict = judged(version.metadata) if is_reward(version.metadata) else None
    if verdict:
        rows += ["", f"It {verdict}."]
    return "\n".join(["## Measured results", "", "| measure | value |", "|---|---|", *rows, ""])
