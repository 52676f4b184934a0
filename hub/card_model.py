"""The card of a full model, merged or folded: what it was made from, in the words of the Hub; see `hub.card`."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hub.card_parts import ancestors, data_section, hub_datasets, lineage_section, recipe_section, results_section
from hub.card_text import facts_table, licence_fields, paper_text, plain, sentence
from medley.lm.adapter_file import hub_id

if TYPE_CHECKING:
    from hub.records import Version
    from hub.registry import Registry

MERGE, FINETUNE = "merge", "finetune"  # the Hub's words for how a model comes from its bases
MERGEKIT = "https://github.com/arcee-ai/mergekit"


def model_card(registry: "Registry", version: "Version", repo: str) -> str:
    """The README.md of a model version.

    Args:
        repo: where it will be published, for the example.
    """
    bases = base_models(registry, version)
    parts = [
        f"---\n{_front_matter(registry, version, bases)}\n---\n",
        _head(version, bases),
        _how_made(registry, version),
        recipe_section(version),
        lineage_section(registry, version),
        data_section(registry, version),
        results_section(version),
        _usage(repo),
        _limits(registry, version),
        "Made and published with Medley.\n",
    ]
    return "\n".join(part for part in parts if part)


def base_models(registry: "Registry", version: "Version") -> list[str]:
    """Hub ids of the base and of every input that has one, the base first; those that the recipe names count too."""
    found = [hub_id(version.base)]
    if relation_of(registry, version) != FINETUNE:  # the one adapter of a fold is no model that it was tuned from
        inputs = [parent for role, parent in registry.parents(version.id) if parent is not None and role != "data"]
        found += [*(_hub_id_of(parent) for parent in inputs), *_named_in(version.recipe)]
    return list(dict.fromkeys(each for each in found if each))


def relation_of(registry: "Registry", version: "Version") -> str | None:
    """ "merge" where several inputs were put together, "finetune" where one adapter was folded into its base.

    The Hub knows `adapter`, `merge`, `quantized` and `finetune`. A base with one adapter in it is what training the
    base itself would have given, so it is a finetune. None where nobody knows how the model was made.
    """
    if _is_fold(version):
        inputs = [role for role, _ in registry.parents(version.id) if role == "input"]
        return MERGE if len(inputs) > 1 else FINETUNE
    return MERGE if version.metadata.get("trainer") == "merge" or _has_key(version.recipe, "merge_method") else None


def _is_fold(version: "Version") -> bool:
    """Whether it was folded here, or elsewhere as its recipe says."""
    return version.metadata.get("trainer") == "fold" or _has_key(version.recipe, "fold")


def _has_key(recipe: str | None, key: str) -> bool:
    return recipe is not None and re.search(rf"^(- )?['\"]?{key}['\"]?:", recipe, re.MULTILINE) is not None


def ran_mergekit(version: "Version") -> bool:
    """Whether mergekit computed it: merges of full models run on mergekit, whatever the method."""
    return version.metadata.get("trainer") == "merge"


def _hub_id_of(parent: "Version") -> str | None:
    """Where an input is on the Hub: where it came from, or where it was pushed to last."""
    if parent.kind == "base":
        return hub_id(parent.base)
    source = parent.metadata.get("source")
    if isinstance(source, str) and "@" in source and "/" in source:
        return hub_id(source.partition("@")[0])
    published = parent.metadata.get("published")
    return hub_id(published[-1].get("repo_id")) if isinstance(published, list) and published else None


def _named_in(recipe: str | None) -> list[str]:
    """The Hub ids that a recipe names as models: "owner/name", "owner/name@revision", "owner/name+owner/lora"."""
    import yaml

    try:
        documents = list(yaml.safe_load_all(recipe or ""))
    except (yaml.YAMLError, RecursionError):
        return []
    references = [reference for document in documents for reference in _references(document)]
    names = [part.partition("@")[0] for reference in references for part in reference.split("+")]
    return [name for name in names if "/" in name and hub_id(name)]


def _references(value: Any) -> Iterator[str]:
    """Every text under a `model` or `base_model` key; mergekit also writes it as {model: {path: …}}."""
    if isinstance(value, list):
        for each in value:
            yield from _references(each)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in ("model", "base_model", "path") and isinstance(inner, str):
                yield inner
            else:
                yield from _references(inner)


def _front_matter(registry: "Registry", version: "Version", bases: list[str]) -> str:
    from huggingface_hub import ModelCardData

    relation = relation_of(registry, version)
    tags = ["mergekit" if ran_mergekit(version) else None, "merge" if relation == MERGE else None, "medley"]
    related = {"base_model_relation": relation} if bases and relation else {}
    return ModelCardData(
        library_name="transformers",
        base_model=bases or None,
        pipeline_tag="text-generation",
        datasets=hub_datasets(registry, version) or None,
        tags=[tag for tag in tags if tag],
        **related,
        **licence_fields(version.metadata.get("licence")),
    ).to_yaml()


def _head(version: "Version", bases: list[str]) -> str:
    about = version.metadata
    made_from = ", ".join(f"[{base}](https://huggingface.co/{base})" for base in bases)
    lines = [f"# {version.name}", "", f"A full model{f' made from {made_from}' if made_from else ''}."]
    facts = {
        "Version": f"v{version.number}",
        "Content": f"`sha256:{version.id}`",
        "Architecture": about.get("architecture"),
        "Parameters": f"{about['parameters']:,}" if isinstance(about.get("parameters"), int) else None,
        "Numbers": about.get("dtype"),
        "Chat template": f"`{plain(about['template_hash'])[:16]}`" if about.get("template_hash") else None,
    }
    return "\n".join([*lines, "", *facts_table(facts)])


def _how_made(registry: "Registry", version: "Version") -> str:
    about = version.metadata
    relation = relation_of(registry, version)
    method = f" by `{plain(about['method'])}`{paper_text(about.get('paper'))}" if about.get("method") else ""
    if _is_fold(version):
        what = "one adapter" if relation == FINETUNE else "a blend of adapters"
        text = f"The base with {what} folded into its weights; each weight was rounded once."
    elif relation == MERGE:
        by = f", computed with [mergekit]({MERGEKIT})" if ran_mergekit(version) else ""
        text = f"A merge of other models{method}{by}."
    else:
        text = "Imported; how it was made is not on record."
    return f"## How it was made\n\n{text}\n"


def _usage(repo: str) -> str:
    lines = [
        *("from transformers import AutoModelForCausalLM, AutoTokenizer", ""),
        *(
            f'tokenizer = AutoTokenizer.from_pretrained("{repo}")',
            f'model = AutoModelForCausalLM.from_pretrained("{repo}")',
        ),
        *("", 'messages = [{"role": "user", "content": "Hello!"}]'),
        'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", '
        "return_dict=True)",
        "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=100)[0]))",
    ]
    return "## How to use\n\n```python\n" + "\n".join(lines) + "\n```\n"


def _limits(registry: "Registry", version: "Version") -> str:
    notes = [note for note in version.metadata.get("notes") or () if isinstance(note, str)]
    of_bases = {base.metadata.get("note") for base in ancestors(registry, version, "base")}
    notes += [note for note in of_bases if isinstance(note, str)]
    lines = [
        "For research and experiments. It shares the limits and licence terms of every model it was made from, "
        "and nobody has checked it for safety: judge its answers before you rely on them.",
        *(sentence(note) for note in notes),
    ]
    return "\n".join(["## Intended use and limits", "", *(f"* {line}" for line in lines), ""])
