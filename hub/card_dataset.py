"""The card of a dataset: what its rows are, who wrote them, how to load each split; see `hub.card`."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hub.card_parts import lineage_section, recipe_section
from hub.card_text import cell, facts_table, licence_fields, plain, sentence
from hub.kind_lists import DATASET_REPORT, DATASET_SPLITS
from medley.lm.adapter_file import hub_id

if TYPE_CHECKING:
    from hub.records import Version
    from hub.registry import Registry

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))
LARGEST = "10M<n<100M"
ROWS = {  # a dataset's kind: what a row is, and the Hub's tags for it
    "sft": ("`prompt` and `completion`, each a list of messages; training learns the completion", ("sft",)),
    "preference": ("`prompt`, `chosen` and `rejected`, each a list of messages", ("preference", "dpo")),
    "unpaired": ("`prompt` and `completion`, lists of messages, and `label`: whether the answer is wanted", ("kto",)),
    "prompts": ("`prompt`, a list of messages without an answer", ("prompts",)),
}
WROTE = {
    "human": "People wrote the answers.",
    "generated": "A model wrote the answers.",
    "mixed": "People wrote some of the answers and a model the others.",
    None: "Who wrote the answers is not on record.",
}
MAX_REASONS = 20


def dataset_card(registry: "Registry", version: "Version", repo: str) -> str:
    """The README.md of a dataset version.

    Args:
        repo: where it will be published, for the example.
    """
    parts = [
        f"---\n{_front_matter(version)}\n---\n",
        _head(version),
        _origin(version),
        _counts(version),
        recipe_section(version),
        lineage_section(registry, version),
        f'## How to use\n\n```python\nfrom datasets import load_dataset\n\nrows = load_dataset("{repo}")\n```\n',
        _limits(version),
        "Made and published with Medley.\n",
    ]
    return "\n".join(part for part in parts if part)


def rows_of(version: "Version") -> dict[str, int]:
    """Split -> its rows, for the splits that have any; a split without rows is a file that no reader could type."""
    splits = version.metadata.get("splits")
    counts = splits if isinstance(splits, Mapping) else {}
    found = {}
    for name in DATASET_SPLITS:
        split, path = name.removesuffix(".jsonl"), version.path / name
        if path.is_file() and path.stat().st_size:
            found[split] = counts[split] if isinstance(counts.get(split), int) else _count_lines(version, name)
    return found


def _count_lines(version: "Version", name: str) -> int:
    with (version.path / name).open("rb") as file:
        return sum(1 for _ in file)


def size_category(rows: int) -> str:
    """The Hub's word for this many rows."""
    return next((word for most, word in SIZES if rows < most), LARGEST)


def _front_matter(version: "Version") -> str:
    from huggingface_hub import DatasetCardData

    about, rows = version.metadata, rows_of(version)
    files = [{"split": split, "path": f"{split}.jsonl"} for split in rows]
    tags = [*ROWS.get(str(about.get("kind")), ("", ()))[1], "medley"]
    return DatasetCardData(
        task_categories=["text-generation"],
        size_categories=[size_category(sum(rows.values()))],
        tags=[*tags, "synthetic"] if about.get("provenance") in ("generated", "mixed") else tags,
        configs=[{"config_name": "default", "data_files": files}],
        **licence_fields(about.get("licence")),
    ).to_yaml()


def _head(version: "Version") -> str:
    about = version.metadata
    facts = {
        "Version": f"v{version.number}",
        "Content": f"`sha256:{version.id}`",
        "Kind": about.get("kind"),
        "Format it came in": about.get("format"),
        **{f"Rows in {split}": f"{count:,}" for split, count in rows_of(version).items()},
    }
    what = ROWS.get(str(about.get("kind")), ("", ()))[0]
    return "\n".join([f"# {version.name}", "", f"A row holds {what}." if what else "", "", *facts_table(facts)])


def _origin(version: "Version") -> str:
    about = version.metadata
    source = about.get("source")
    repo = source.partition("@")[0] if isinstance(source, str) else ""
    if "/" in repo and hub_id(repo):
        said = (
            f"From [{repo}](https://huggingface.co/datasets/{repo}), commit `{plain(source.partition('@')[2]) or '?'}`."
        )
    else:
        said = f"From {plain(source)}." if source else "Where it comes from is not on record."
    wrote = WROTE.get(about.get("provenance"), WROTE[None])
    licence = f"Licence: {sentence(str(about['licence']))}" if about.get("licence") else "Its licence is not stated."
    return f"## Where it comes from\n\n{said} {wrote} {licence}\n"


def _counts(version: "Version") -> str:
    """What the import found, mended and left out, as its report says."""
    report = _report(version)
    rows = [
        (what, reason, count)
        for what, field in (("found", "found"), ("mended", "fixed"), ("left out", "dropped"))
        for reason, count in list(_mapping(report.get(field)).items())[:MAX_REASONS]
    ]
    lines = [f"| {what} | {cell(reason)} | {count:,} |" for what, reason, count in rows if isinstance(count, int)]
    return "\n".join(["## What was done to it", "", "| | what | rows |", "|---|---|---|", *lines, ""]) if lines else ""


def _report(version: "Version") -> Mapping[str, Any]:
    try:
        return _mapping(json.loads((version.path / DATASET_REPORT).read_text(encoding="utf-8")))
    except (OSError, ValueError):  # missing or damaged: the check of the files says so
        return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _limits(version: "Version") -> str:
    lines = [
        "For training and measuring language models. Nobody has checked every row: look at them before you rely on "
        "them.",
    ]
    if "eval" in rows_of(version):
        lines.append("The eval split shares no prompt with the train split; keep it for measuring.")
    lines += ["No row was checked for personal data."] if version.metadata.get("provenance") != "generated" else []
    return "\n".join(["## Intended use and limits", "", *(f"* {line}" for line in lines), ""])
