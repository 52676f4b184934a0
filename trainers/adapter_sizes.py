"""How large an adapter will be, and what it makes the forward pass keep, from its options and the base's sizes."""

from collections.abc import Iterator
from typing import Any

from medley.lm.base_facts import BaseFacts, LinearSizes
from trainers.adapter_kinds import HOLDING_INITS, kind_of, parse_layers, parse_ranks


def adapter_parameters(facts: BaseFacts, options: Any) -> int:
    """Entries that are trained."""
    layers = _layers(facts, options)
    match kind_of(options).name:
        case "prompt-tuning":
            return options.virtual_tokens * facts.hidden
        case "prefix-tuning":
            return options.virtual_tokens * facts.layers * 2 * facts.kv_heads * facts.head_dim
        case "llama-adapter":
            return (options.adapter_layers or facts.layers) * (options.adapter_len * facts.hidden + 1)
        case "ia3":
            chosen = [each for each, _ in _targeted(facts, options)]
            return sum(each.count * (each.inputs if each.is_feed_forward else each.outputs) for each in chosen)
        case "dora":
            magnitudes = sum(each.count * each.outputs for each, _ in _targeted(facts, options))
            return round((_factors(facts, options) + magnitudes) * layers)
    return round(_factors(facts, options) * layers)


def _factors(facts: BaseFacts, options: Any) -> int:
    """Entries of A and B over all modules; a start from the base's weights needs as many again, which are held fast."""
    copies = 2 if options.init in HOLDING_INITS else 1
    return copies * sum(rank * each.count * (each.inputs + each.outputs) for each, rank in _targeted(facts, options))


def kept_entries(facts: BaseFacts, options: Any) -> tuple[float, float]:
    """Numbers that a token leaves behind for the adapter's backward pass: (inputs of its modules, inner ones)."""
    if "rank" not in kind_of(options).options:
        return 0, 0
    layers, chosen = _layers(facts, options), list(_targeted(facts, options))
    inputs = sum(each.count * each.inputs for each, _ in chosen)
    return layers * inputs, layers * sum(each.count * rank for each, rank in chosen)


def scaled_entries(facts: BaseFacts, options: Any) -> float:
    """Results of modules that DoRA scales by magnitudes it trains, and so keeps; none for the other kinds."""
    if kind_of(options).name != "dora":
        return 0
    return _layers(facts, options) * sum(each.count * each.outputs for each, _ in _targeted(facts, options))


def _layers(facts: BaseFacts, options: Any) -> float:
    """The share of the layers that get LoRA."""
    return len(parse_layers(options.layers) or range(facts.layers)) / facts.layers


def _targeted(facts: BaseFacts, options: Any) -> Iterator[tuple[LinearSizes, int]]:
    """The linear layers that the options' targets name, by whole paths or their ends, with the rank of each."""
    ranks, named = parse_ranks(options.rank_pattern), {name.rpartition(".")[2] for name in options.targets}
    for name, sizes in facts.linears.items():
        if tuple(options.targets) == ("all-linear",) or name in named:
            yield sizes, ranks.get(name, options.rank)
