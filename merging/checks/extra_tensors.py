"""What the tensors of an adapter that are not plain LoRA mean, and what to do about them. From the header alone."""

from collections.abc import Sequence

from medley.lm.adapter_file import AdapterFile

FULL_MODEL_ADVICE = "Only its full model has all of it; retrain it as plain LoRA to merge it."
EMBEDDING_FACTORS = (".lora_embedding_A", ".lora_embedding_B")
WHOLE_EMBEDDINGS = ("embed_tokens.weight", "lm_head.weight", "wte.weight", "embed_in.weight", "embed_out.weight")
MAGNITUDE = ".lora_magnitude_vector"
FACTORS = (".lora_A.weight", ".lora_B.weight")


def extra_problems(name: str, adapter: AdapterFile) -> list[str]:
    """One sentence per kind of tensor that no merge method covers.

    Args:
        name: what the sentences call the adapter.
    """
    tensors = adapter.extra_tensors
    embeddings = [each for each in tensors if each.endswith(EMBEDDING_FACTORS)]
    whole = [each for each in tensors if each.endswith(WHOLE_EMBEDDINGS)]
    magnitudes = [each for each in tensors if MAGNITUDE in each]
    convolutions = [each for each in tensors if each.endswith(FACTORS) and len(adapter.tensors[each].shape) > 2]
    rest = [each for each in tensors if each not in {*embeddings, *whole, *magnitudes, *convolutions}]
    problems = []
    if embeddings:
        problems.append(
            f"'{name}' trained an embedding as LoRA ({_owners(embeddings)}), and only linear layers can be merged. "
            "Retrain it without that module among its target_modules."
        )
    if whole:
        problems.append(
            f"'{name}' holds whole embeddings ({_owners(whole)}), as peft saves them when tokens were added to the "
            f"vocabulary. {FULL_MODEL_ADVICE}"
        )
    if magnitudes:
        problems.append(
            f"'{name}' holds DoRA's magnitudes, though its configuration says use_dora: false. Set it right."
        )
    if convolutions:
        problems.append(
            f"'{name}' trained convolutions ({_owners(convolutions)}), and only linear layers can be merged. "
            f"{FULL_MODEL_ADVICE}"
        )
    if rest:
        problems.append(
            f"'{name}' holds {_count(rest)} that {'is' if len(rest) == 1 else 'are'} not plain LoRA, for example "
            f"{rest[0]}. {FULL_MODEL_ADVICE}"
        )
    return problems


def _count(tensors: Sequence[str]) -> str:
    return "1 tensor" if len(tensors) == 1 else f"{len(tensors)} tensors"


def _owners(tensors: Sequence[str]) -> str:
    """The modules that the tensors belong to, the first three by name."""
    stems = (each.removeprefix("base_model.model.") for each in tensors)
    owners = list(dict.fromkeys(stem.partition(".lora_")[0].removesuffix(".weight") for stem in stems))
    return ", ".join(owners[:3]) + (f" and {len(owners) - 3} more" if len(owners) > 3 else "")
