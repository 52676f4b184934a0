"""Whether a base has the layers and modules that an adapter's options name; known before anything loads."""

from collections.abc import Iterator, Sequence
from typing import Any

from medley.lm.base_facts import EMBEDDINGS, BaseFacts
from trainers.adapter_kinds import kind_of, parse_alphas, parse_layers, parse_ranks

ALL_LINEAR = ("all-linear",)


def misplaced(facts: BaseFacts, options: Any) -> list[str]:
    """What this base does not have of the layers and modules that the options name, a sentence each.

    A name may be a whole path or the end of one; only its last part is looked up, as that is what the base's weights
    are known by here.
    """
    kind, problems = kind_of(options), []
    if "targets" in kind.options and tuple(options.targets) != ALL_LINEAR:
        problems += _unknown_modules("targets", options.targets, facts, "Use all-linear, or some of")
    if "layers" in kind.options:
        problems += _unknown_layers(facts, parse_layers(options.layers))
        for name, parse in (("rank_pattern", parse_ranks), ("alpha_pattern", parse_alphas)):
            problems += _unknown_modules(name, list(parse(getattr(options, name))), facts, "Its linear layers are")
    if kind.name == "llama-adapter" and (options.adapter_layers or 0) > facts.layers:
        problems.append(f"adapter_layers is {options.adapter_layers}, but this base has {facts.layers} layers.")
    return problems


def _unknown_layers(facts: BaseFacts, wanted: Sequence[int] | None) -> Iterator[str]:
    if wanted and wanted[-1] >= facts.layers:
        yield f"layers names layer {wanted[-1]}, but this base has layers 0 to {facts.layers - 1}."


def _unknown_modules(option: str, names: Sequence[str], facts: BaseFacts, hint: str) -> Iterator[str]:
    known = {*facts.linears, *EMBEDDINGS}
    missing = [name for name in names if name.rpartition(".")[2] not in known]
    if missing:
        yield f"{option} names {', '.join(missing)}, which this base does not have. {hint}: {', '.join(facts.linears)}."
