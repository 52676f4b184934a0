"""The card of an adapter; see `hub.card`."""

from typing import TYPE_CHECKING, Any

from hub.card_example import python_example
from hub.card_parts import (
    ancestors,
    data_section,
    hub_datasets,
    lineage_section,
    recipe_section,
    results_section,
)
from hub.card_text import facts_table, licence_fields, paper_text, plain, sentence
from hub.reward_words import is_reward
from medley.errors import HubError
from medley.lm.adapter_file import hub_id

if TYPE_CHECKING:
    from hub.records import Version
    from hub.registry import Registry

TRAINERS = {  # how a trainer is called in a sentence, its tag on the Hub and its paper
    "sft": ("supervised fine-tuning", "sft", None),
    "dpo": ("direct preference optimisation", "dpo", "arXiv:2305.18290"),
    "ppo": ("proximal policy optimisation", "ppo", "arXiv:1707.06347"),
    "reward": ("reward modelling", "reward-model", None),
    "kto": ("Kahneman-Tversky optimisation", "kto", "arXiv:2402.01306"),
    "grpo": ("group relative policy optimisation", "grpo", "arXiv:2402.03300"),
}
MADE = {  # how an adapter came about that was neither trained nor merged
    "extract": "Extracted from the difference of two full models: the best factors of each changed weight.",
    "convert": "Converted to plain LoRA from an adapter of another kind.",
}
TYPES = {  # an adapter's type: in a sentence, and its paper
    "lora": ("LoRA", "arXiv:2106.09685"),
    "dora": ("DoRA", "arXiv:2402.09353"),
    "ia3": ("IA3", "arXiv:2205.05638"),
    "prefix-tuning": ("prefix tuning", "arXiv:2101.00190"),
    "prompt-tuning": ("prompt tuning", "arXiv:2104.08691"),
    "llama-adapter": ("LLaMA-Adapter", "arXiv:2303.16199"),
}


def adapter_card(registry: "Registry", version: "Version", repo: str) -> str:
    """The README.md of an adapter version.

    Args:
        repo: where it will be published, for the example.

    Raises:
        HubError: its base has no Hub id.
    """
    base = require_base_id(version)
    parts = [
        f"---\n{_front_matter(registry, version, base)}\n---\n",
        _head(version, base),
        _how_made(version),
        recipe_section(version),
        lineage_section(registry, version),
        data_section(registry, version),
        results_section(version),
        _usage(version, base, repo),
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
    return ModelCardData(
        library_name="peft",
        base_model=base,
        pipeline_tag="text-classification" if is_reward(about) else "text-generation",
        datasets=hub_datasets(registry, version) or None,
        tags=[each for each in (type_of(version), method, "medley") if each],
        base_model_relation="adapter",
        **licence_fields(about.get("licence")),
    ).to_yaml()


def type_of(version: "Version") -> str:
    """The adapter's type; versions from before types were noted are LoRA unless their peft_type says otherwise."""
    about = version.metadata
    return str(about.get("adapter_type") or about.get("peft_type") or "lora").lower().replace("_", "-")


def _type_text(version: "Version") -> tuple[str, str | None]:
    found = type_of(version)
    return TYPES.get(found, (plain(found), None))


def _head(version: "Version", base: str) -> str:
    about = version.metadata
    name = _type_text(version)[0]
    article = "An" if name[0] in "AEIOU" else "A"
    kind = "A reward model (a LoRA adapter with a score head)" if is_reward(about) else f"{article} {name} adapter"
    revision = f" at revision `{plain(version.base_revision)}`" if version.base_revision else ""
    lines = [f"# {version.name}", "", f"{kind} for [{base}](https://huggingface.co/{base}){revision}."]
    facts = {
        "Version": f"v{version.number}",
        "Content": f"`sha256:{version.id}`",
        "Rank": about.get("rank"),
        "Parameters": f"{about['parameters']:,}" if isinstance(about.get("parameters"), int) else None,
        "Modules": _targets(about.get("targets")),
        "Trained on": about.get("trained_on"),
        "Chat template": f"`{plain(about['template_hash'])[:16]}`" if about.get("template_hash") else None,
    }
    return "\n".join([*lines, "", *facts_table(facts)])


def _targets(targets: Any) -> str | None:
    if isinstance(targets, (list, tuple)):
        return ", ".join(str(each) for each in targets[:12]) + (" …" if len(targets) > 12 else "")
    return str(targets) if targets else None


def _how_made(version: "Version") -> str:
    about = version.metadata
    trainer = str(about.get("trainer", ""))
    if trainer == "merge":
        method, paper = str(about.get("method") or "a merge"), about.get("paper")
        said = f"A merge of other adapters by `{plain(method)}`{paper_text(paper)}, computed without loading the base."
    elif trainer in TRAINERS:
        name, _, paper = TRAINERS[trainer]
        type_name, type_paper = _type_text(version)
        said = f"Trained by {name}{paper_text(about.get('paper') or paper)} as {type_name}{paper_text(type_paper)}."
    else:
        said = MADE.get(trainer, "Imported; how it was trained is not on record.")
    missed = (about.get("metrics") or {}).get("error") if trainer in MADE else None
    if isinstance(missed, float):
        said += f" It misses {missed:.2%} of that, in the norm of the weights."
    return f"## How it was made\n\n{said}\n"


def _usage(version: "Version", base: str, repo: str) -> str:
    return f"## How to use\n\n```python\n{python_example(version, base, repo)}\n```\n"


def _limits(registry: "Registry", version: "Version") -> str:
    about = version.metadata
    notes = [note for note in about.get("notes") or () if isinstance(note, str)]
    of_bases = {base.metadata.get("note") for base in ancestors(registry, version, "base")}
    notes += [note for note in of_bases if isinstance(note, str) and not any(note in known for known in notes)]
    lines = [
        "For research and experiments with its base model. It shares the base's limits and licence terms, "
        "and nobody has checked it for safety: judge its answers before you rely on them.",
    ]
    if "nf4" in str(about.get("trained_on")):
        lines.append("It was trained on a base in 4-bit (NF4); on the base in 16 bits its answers differ slightly.")
    lines += [sentence(note) for note in notes]
    return "\n".join(["## Intended use and limits", "", *(f"* {line}" for line in lines), ""])
