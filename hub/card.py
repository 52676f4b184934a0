"""The card of an adapter: a README.md with the Hub's metadata in front and what a reader needs to know after it.

Everything comes from the registry's record; what is not known is not claimed. The text never holds a local path or a
token: what a user wrote (recipe, notes, names) passes through `hub.leaks` on its way in.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hub.card_example import python_example
from hub.leaks import masked, without_local_paths
from hub.reward_words import is_reward, judged
from medley.errors import HubError
from medley.lm.adapter_file import hub_id

if TYPE_CHECKING:
    from hub.records import Version
    from hub.registry import Registry

HUB_LICENCES = {  # the Hub's own words; anything else is "other" with its name beside it
    *("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "openrail"),
    *("bigscience-openrail-m", "creativeml-openrail-m", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0"),
    *("agpl-3.0", "mpl-2.0", "odc-by", "odbl", "unlicense", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3"),
    *("gemma", "cc-by-3.0", "cc-by-sa-3.0", "cc-by-nc-nd-4.0", "artistic-2.0", "isc", "unknown"),
}
TRAINERS = {  # how a trainer is called in a sentence, its tag on the Hub and its paper
    "sft": ("supervised fine-tuning", "sft", None),
    "dpo": ("direct preference optimisation", "dpo", "arXiv:2305.18290"),
    "ppo": ("proximal policy optimisation", "ppo", "arXiv:1707.06347"),
    "reward": ("reward modelling", "reward-model", None),
    "kto": ("Kahneman-Tversky optimisation", "kto", "arXiv:2402.01306"),
    "grpo": ("group relative policy optimisation", "grpo", "arXiv:2402.03300"),
}
TYPES = {  # an adapter's type: in a sentence, and its paper
    "lora": ("LoRA", "arXiv:2106.09685"),
    "dora": ("DoRA", "arXiv:2402.09353"),
    "ia3": ("IA3", "arXiv:2205.05638"),
    "prefix-tuning": ("prefix tuning", "arXiv:2101.00190"),
    "prompt-tuning": ("prompt tuning", "arXiv:2104.08691"),
    "llama-adapter": ("LLaMA-Adapter", "arXiv:2303.16199"),
}
_ARXIV = re.compile(r"(?:arXiv:)?(\d{4}\.\d{4,5})")


def build_card(registry: "Registry", version: "Version", repo_id: str | None = None) -> str:
    """The README.md of an adapter version.

    Args:
        repo_id: where it will be published, for the example; its name stands there otherwise.

    Raises:
        HubError: its base has no Hub id.
    """
    base = require_base_id(version)
    parts = [
        f"---\n{_front_matter(registry, version, base)}\n---\n",
        _head(version, base),
        _how_made(version),
        _recipe(version),
        _lineage(registry, version),
        _data(registry, version),
        _results(version),
        _usage(version, base, repo_id or version.name),
        _limits(registry, version),
        "Made and published with Medley.\n",
    ]
    return "\n".join(part for part in parts if part)


def require_base_id(version: "Version") -> str:
    """The Hub id of the version's base.

    Raises:
        HubError: the base is a folder of this machine, or unknown; a card could not say what to load.
    """
    base = hub_id(version.base)
    if base is None:
        raise HubError(
            f"The base of {version.label} has no Hub id, so nobody could load the adapter from the Hub. "
            "Register the base under its Hub id and import the adapter with --base."
        )
    return base


def _front_matter(registry: "Registry", version: "Version", base: str) -> str:
    from huggingface_hub import ModelCardData

    about = version.metadata
    trainer = str(about.get("trainer", ""))
    tag = TRAINERS[trainer][1] if trainer in TRAINERS else None
    method = "merge" if trainer == "merge" else tag
    fields: dict[str, Any] = {"base_model_relation": "adapter"}
    licence = _licence(about.get("licence"))
    if licence == "other":
        fields["license_name"] = _plain(about["licence"])[:60]
    return ModelCardData(
        library_name="peft",
        base_model=base,
        pipeline_tag="text-classification" if is_reward(about) else "text-generation",
        license=licence,
        datasets=_hub_datasets(registry, version) or None,
        tags=[each for each in (type_of(version), method, "medley") if each],
        **fields,
    ).to_yaml()


def type_of(version: "Version") -> str:
    """The adapter's type; versions from before types were noted are LoRA unless their peft_type says otherwise."""
    about = version.metadata
    return str(about.get("adapter_type") or about.get("peft_type") or "lora").lower().replace("_", "-")


def _type_text(version: "Version") -> tuple[str, str | None]:
    found = type_of(version)
    return TYPES.get(found, (_plain(found), None))


def _licence(stated: Any) -> str | None:
    if not isinstance(stated, str) or not stated.strip():
        return None
    word = stated.strip().lower()
    return word if word in HUB_LICENCES else "other"


def _hub_datasets(registry: "Registry", version: "Version") -> list[str]:
    sources = [data.metadata.get("source") for data in _ancestors(registry, version, "dataset")]
    return sorted(
        {found for source in sources if isinstance(source, str) and "/" in source and (found := hub_id(source))}
    )


def _ancestors(registry: "Registry", version: "Version", kind: str) -> "list[Version]":
    """All versions of a kind that this one was made from, directly or through others; the nearest first."""
    found: dict[str, Version] = {}
    waiting = [version]
    while waiting:
        for _, parent in registry.parents(waiting.pop(0).id):
            if parent is not None and parent.id not in found:
                found[parent.id] = parent
                waiting.append(parent)
    return [each for each in found.values() if each.kind == kind]


def _head(version: "Version", base: str) -> str:
    about = version.metadata
    name = _type_text(version)[0]
    article = "An" if name[0] in "AEIOU" else "A"
    kind = "A reward model (a LoRA adapter with a score head)" if is_reward(about) else f"{article} {name} adapter"
    revision = f" at revision `{_plain(version.base_revision)}`" if version.base_revision else ""
    lines = [f"# {version.name}", "", f"{kind} for [{base}](https://huggingface.co/{base}){revision}."]
    facts = {
        "Version": f"v{version.number}",
        "Content": f"`sha256:{version.id}`",
        "Rank": about.get("rank"),
        "Parameters": f"{about['parameters']:,}" if isinstance(about.get("parameters"), int) else None,
        "Modules": _targets(about.get("targets")),
        "Trained on": about.get("trained_on"),
        "Chat template": f"`{_plain(about['template_hash'])[:16]}`" if about.get("template_hash") else None,
    }
    rows = [f"| {name} | {_cell(value)} |" for name, value in facts.items() if value not in (None, "")]
    return "\n".join([*lines, "", "| | |", "|---|---|", *rows, ""])


def _targets(targets: Any) -> str | None:
    if isinstance(targets, (list, tuple)):
        return ", ".join(str(each) for each in targets[:12]) + (" …" if len(targets) > 12 else "")
    return str(targets) if targets else None


def _how_made(version: "Version") -> str:
    about = version.metadata
    trainer = str(about.get("trainer", ""))
    if trainer == "merge":
        method, paper = str(about.get("method") or "a merge"), about.get("paper")
        sentence = f"A merge of other adapters by `{_plain(method)}`{_paper(paper)}, computed without loading the base."
    elif trainer in TRAINERS:
        name, _, paper = TRAINERS[trainer]
        type_name, type_paper = _type_text(version)
        sentence = f"Trained by {name}{_paper(about.get('paper') or paper)} as {type_name}{_paper(type_paper)}."
    else:
        sentence = "Imported; how it was trained is not on record."
    return f"## How it was made\n\n{sentence}\n"


def _paper(paper: Any) -> str:
    if not isinstance(paper, str) or not paper.strip():
        return ""
    found = _ARXIV.fullmatch(paper.strip())
    return f" ([arXiv:{found[1]}](https://arxiv.org/abs/{found[1]}))" if found else f" ({_plain(paper)})"


def _recipe(version: "Version") -> str:
    if not version.recipe:
        return ""
    text = clean_text(version.recipe).strip("\n")
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"## Recipe\n\n{fence}yaml\n{text}\n{fence}\n"


def _lineage(registry: "Registry", version: "Version") -> str:
    rows = [
        f"| {role} | {_cell(parent.label) if parent else 'no longer on record'} | "
        f"{f'`sha256:{parent.id[:16]}…`' if parent else ''} |"
        for role, parent in registry.parents(version.id)
    ]
    return "\n".join(["## Made from", "", "| role | version | digest |", "|---|---|---|", *rows, ""]) if rows else ""


def _data(registry: "Registry", version: "Version") -> str:
    used = _ancestors(registry, version, "dataset")
    lines = [f"* **{_plain(data.label)}**: {_describe_data(data.metadata)}" for data in used]
    return "\n".join(["## Data", "", *lines, ""]) if lines else ""


def _describe_data(about: Mapping[str, Any]) -> str:
    rows = about.get("rows")
    count = sum(value for value in rows.values() if isinstance(value, int)) if isinstance(rows, Mapping) else rows
    parts = [f"{count:,} rows" if isinstance(count, int) else ""]
    parts.append(f"format {_plain(about['format'])}" if about.get("format") else "")
    parts.append(f"licence {_plain(about['licence'])}" if about.get("licence") else "licence not stated")
    source = about.get("source")
    if isinstance(source, str) and "/" in source and hub_id(source):
        parts.append(f"from [{source}](https://huggingface.co/datasets/{source})")
    return ", ".join(part for part in parts if part) + "."


def _results(version: "Version") -> str:
    metrics = version.metadata.get("metrics")
    if not isinstance(metrics, Mapping) or not metrics:
        return "## Measured results\n\nNone on record.\n"
    rows = [f"| {_cell(name)} | {_number(value)} |" for name, value in sorted(metrics.items())]
    verdict = judged(version.metadata) if is_reward(version.metadata) else None
    if verdict:
        rows += ["", f"It {verdict}."]
    return "\n".join(["## Measured results", "", "| measure | value |", "|---|---|", *rows, ""])


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _cell(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _usage(version: "Version", base: str, repo: str) -> str:
    return f"## How to use\n\n```python\n{python_example(version, base, repo)}\n```\n"


def _limits(registry: "Registry", version: "Version") -> str:
    about = version.metadata
    notes = [note for note in about.get("notes") or () if isinstance(note, str)]
    of_bases = {base.metadata.get("note") for base in _ancestors(registry, version, "base")}
    notes += [note for note in of_bases if isinstance(note, str) and not any(note in known for known in notes)]
    lines = [
        "For research and experiments with its base model. It shares the base's limits and licence terms, "
        "and nobody has checked it for safety: judge its answers before you rely on them.",
    ]
    if "nf4" in str(about.get("trained_on")):
        lines.append("It was trained on a base in 4-bit (NF4); on the base in 16 bits its answers differ slightly.")
    lines += [_sentence(note) for note in notes]
    return "\n".join(["## Intended use and limits", "", *(f"* {line}" for line in lines), ""])


def _sentence(text: str) -> str:
    return _plain(text).rstrip(".") + "."


def clean_text(text: str) -> str:
    """A user's text without tokens and without the folders of local paths (the last part of each path stays)."""
    return masked(without_local_paths(text))


def _plain(value: Any) -> str:
    """A user's value as one line of Markdown text: nothing in it is markup, a local path or a token."""
    line = " ".join(clean_text(str(value)).split())[:500]
    return re.sub(r"([\\`*_\[\]<>])", r"\\\1", line)


def _cell(value: Any) -> str:
    text = str(value)
    is_code = re.fullmatch(r"`[\w:.-]+`", text) is not None  # made above, not by a user
    return text if is_code else _plain(value).replace("|", "\\|")
