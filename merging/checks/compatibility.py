"""Whether adapters can be merged: everything that their configurations and headers tell, one sentence per finding.

A problem stops the merge, because the result would be silently wrong; a warning is shown and the merge goes on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from medley.lm.adapter_file import AdapterConfig, AdapterFile
from merging.checks.extra_tensors import FULL_MODEL_ADVICE, extra_problems

CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # beginnings of peft's init_lora_weights
OTHER_MATHS = {  # settings of peft under which the delta is not scale * B @ A
    "target_parameters": "trains single parameters (target_parameters)",
    "layer_replication": "repeats layers of the base (layer_replication)",
    "alora_invocation_tokens": "is switched on by tokens (alora_invocation_tokens)",
    "use_qalora": "uses QA-LoRA",
    "use_bdlora": "uses block-diagonal LoRA",
    "kasa_config": "uses KaSA",
    "arrow_config": "routes between experts (Arrow)",
    "monteclora_config": "uses MonteCLoRA",
}
OTHER_KINDS = {  # peft_type -> what it is, and why there is nothing to merge
    "IA3": "an IA3 adapter: it multiplies activations and adds no delta",
    "PREFIX_TUNING": "a prefix: keys and values in front of every prompt, which change no weights",
    "PROMPT_TUNING": "a soft prompt: embeddings in front of every prompt, which change no weights",
    "P_TUNING": "a soft prompt (P-tuning): embeddings in front of every prompt, which change no weights",
    "ADAPTION_PROMPT": "a LLaMA-Adapter: prompts inside the attention, which change no weights",
    "LN_TUNING": "a set of trained layer norms, which are no deltas of linear layers",
    "ADALORA": "an AdaLoRA adapter: its deltas have singular values of their own beside the two factors",
    "VERA": "a VeRA adapter: its deltas share two random matrices, which every module scales in its own way",
    "OFT": "an OFT adapter: it turns the inputs of the base's weights and adds no delta",
    "LOHA": "a LoHa adapter: its deltas are products of several factors, not of the two of LoRA",
    "LOKR": "a LoKr adapter: its deltas are Kronecker products, not products of the two factors of LoRA",
}
CONVERT_ADVICE = "Make a plain LoRA of it first: medley convert."
CONVERTIBLE = ("ADALORA", "IA3", "LOHA", "LOKR", "OFT", "VERA")  # peft_type of those that merging.converting.run knows
OTHER_KIND_ADVICE = "Only LoRA adapters can be merged: compare it in a pane of its own, or train LoRA on the same rows."


def adapter_problems(name: str, adapter: AdapterFile) -> list[str]:
    """Why this adapter alone cannot be merged."""
    config = adapter.config
    if config.peft_type != "LORA":
        advice = CONVERT_ADVICE if config.peft_type in CONVERTIBLE else OTHER_KIND_ADVICE
        return [f"'{name}' is {OTHER_KINDS[config.peft_type]}. {advice}"]
    if adapter.is_reward_model:
        return [f"'{name}' is a reward model: its score head cannot be merged. Use it with: medley score"]
    problems = [
        f"'{name}' {what}, so its delta is more than its two factors. {FULL_MODEL_ADVICE}"
        for key, what in OTHER_MATHS.items()
        if config.raw.get(key)
    ]
    if config.use_dora:
        problems.append(f"'{name}' uses DoRA: its magnitudes only make sense with its base's weights. {CONVERT_ADVICE}")
    if config.lora_bias or config.raw.get("bias") not in (None, "none"):
        problems.append(f"'{name}' also trained biases, which no merge method covers. {FULL_MODEL_ADVICE}")
    if config.modules_to_save:
        modules = ", ".join(config.modules_to_save)
        problems.append(
            f"'{name}' also holds whole modules ({modules}), which cannot be merged as deltas. {FULL_MODEL_ADVICE}"
        )
    if config.raw.get("trainable_token_indices"):
        problems.append(
            f"'{name}' also trained single tokens' embeddings, which cannot be merged as deltas. {FULL_MODEL_ADVICE}"
        )
    problems += _initialisation_problems(name, config)
    if config.raw.get("ensure_weight_tying") and "lm_head" in adapter.modules:
        problems.append(
            f"'{name}' keeps its trained lm_head tied to the embeddings (ensure_weight_tying), and a merged adapter "
            f"cannot. {FULL_MODEL_ADVICE}"
        )
    if not problems:
        problems += extra_problems(name, adapter)
    if not adapter.modules and not problems:
        problems.append(f"'{name}' holds no plain LoRA weights.")
    if not config.base_model:
        problems.append(f"'{name}' does not say its base model. Set base_model_name_or_path in its configuration.")
    return problems


def _initialisation_problems(name: str, config: AdapterConfig) -> list[str]:
    start = str(config.init_lora_weights).lower()
    if not start.startswith(CHANGES_THE_BASE):
        return []
    return [
        f"'{name}' was initialised with {start}, which also changes the base's weights, so its delta does not belong "
        "to the original base. Save it with peft's path_initial_model_for_weight_conversion first."
    ]


def joint_problems(adapters: Mapping[str, AdapterFile]) -> list[str]:
    """Why these adapters cannot be merged with each other: another base, revision, task or shape."""
    problems = []
    first_name, first = next(iter(adapters.items()))
    base = first.config.base_model
    stated = {name: each.config.revision for name, each in adapters.items() if each.config.base_model == base}
    known_name, known = next(((name, revision) for name, revision in stated.items() if revision), (first_name, None))
    for name, adapter in list(adapters.items())[1:]:
        if base and adapter.config.base_model not in (None, base):
            problems.append(
                f"Adapter '{first_name}' was trained on {base}, but '{name}' on {adapter.config.base_model}. "
                "Only adapters of one base can be merged."
            )
        elif known and adapter.config.revision not in (None, known):
            problems.append(
                f"Adapter '{known_name}' was trained on revision {known} of {base}, but '{name}' on "
                f"{adapter.config.revision}. Only adapters of one base can be merged."
            )
        if first.config.task_type != adapter.config.task_type:
            problems.append(
                f"Adapter '{first_name}' is for {first.config.task_type}, but '{name}' for {adapter.config.task_type}."
            )
    return problems + _shape_problems(adapters)


def _shape_problems(adapters: Mapping[str, AdapterFile]) -> list[str]:
    """Modules of one name and two shapes: the adapters belong to different bases whatever they say."""
    seen: dict[str, tuple[str, tuple[int, int]]] = {}
    problems: dict[tuple[str, str], str] = {}
    for name, adapter in adapters.items():
        for module in adapter.modules.values():
            shape = module.out_features, module.in_features
            owner, other = seen.setdefault(module.name, (name, shape))
            if shape != other:
                problems.setdefault(
                    (owner, name),
                    f"{module.name} is {other[0]} x {other[1]} in '{owner}', but {shape[0]} x {shape[1]} in '{name}'. "
                    "They belong to different bases.",
                )
    return list(problems.values())


def base_problems(wanted: str, where: str, name: str, adapter: AdapterFile) -> tuple[list[str], list[str]]:
    """Whether the adapter belongs to the base that the recipe names: problems and warnings.

    Args:
        wanted: the base as the recipe has it, a Hub id with or without @revision, or a folder.
        where: how the recipe calls it, for example "base_model".
    """
    base, _, revision = wanted.partition("@")
    own = adapter.config.base_model
    if own is None or wanted == own:
        return [], []
    if Path(wanted).expanduser().is_dir():
        return [], [f"{where} is a folder, so it cannot be compared with {own}, the base of '{name}'."]
    if base != own:
        return [f"Adapter '{name}' was trained on {own}, but {where} is {base}."], []
    if revision and adapter.config.revision and revision != adapter.config.revision:
        message = f"Adapter '{name}' was trained on revision {adapter.config.revision}, but {where} is {wanted}."
        return [message], []
    if revision and not adapter.config.revision:
        return [], [f"{where} is {wanted}, but '{name}' does not say its revision, so it could not be compared."]
    return [], []


def warnings_of(adapters: Mapping[str, AdapterFile]) -> list[str]:
    """What the merge survives but a person should know."""
    warnings = []
    heads = [name for name, adapter in adapters.items() if "lm_head" in adapter.modules]
    if heads:
        warnings.append(
            f"{_listed(heads)} changed lm_head. Where the base ties it to its embeddings, folding the result into the "
            "base changes the embeddings too."
        )
    without = [name for name, adapter in adapters.items() if not adapter.config.revision]
    if without and len(without) < len(adapters):
        warnings.append(f"{_listed(without)} does not say the revision of its base, so it could not be compared.")
    touched = [set(adapter.modules) for adapter in adapters.values()]
    if len(touched) > 1 and not set.intersection(*touched):
        warnings.append("The adapters touch no module in common, so nothing is blended, only put together.")
    unknown = {name: adapter.config.unknown_keys for name, adapter in adapters.items() if adapter.config.unknown_keys}
    warnings += [f"'{name}' has settings unknown here: {', '.join(keys)}." for name, keys in unknown.items()]
    return warnings


def short_names(folders: Sequence[str], taken: Sequence[str] = ()) -> dict[str, str]:
    """What to call each folder: as few of its last parts as tell it from the others, never a whole path.

    Args:
        folders: as a recipe has them.
        taken: words that mean something else in the recipe: its base, or results of earlier merges.
    """
    words = [Path(word).parts for word in taken]
    parts = {folder: Path(folder).parts for folder in folders}
    parts = {folder: Path(folder).absolute().parts if own in words else own for folder, own in parts.items()}
    names = {}
    for folder, own in parts.items():
        others = [each for each in (*parts.values(), *words) if each != own]
        length = next((n for n in range(1, len(own)) if all(own[-n:] != each[-n:] for each in others)), len(own))
        names[folder] = "/".join(own[-length:])
    return names


def _listed(names: Sequence[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
