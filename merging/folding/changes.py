"""What one adapter does to the tensors of a base: low-rank changes, and tensors that it holds whole.

Names in the adapter are those of modules, names in the base those of a file; here one is found for the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from medley.lm.adapter_file import PREFIX, WEIGHTS_FILE, AdapterFile
from medley.lm.model_file import HEAD_WEIGHT, ModelFile, StoredTensor
from medley.lm.module_patterns import resolve_patterns

EMBEDDING_A, EMBEDDING_B = ".lora_embedding_A", ".lora_embedding_B"
MAGNITUDE = ".lora_magnitude_vector"
CONV1D_MODELS = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")  # they store these layers transposed
CONV1D_LAYERS = ("c_attn", "c_proj", "c_fc", "q_attn")


@dataclass(frozen=True)
class LowRank:
    """What one adapter adds to one tensor: scale · left · right.

    Attributes:
        adapter: its place in the list of adapters.
        key_left, key_right: tensors of its file.
        is_transposed: True where both are to be transposed (embeddings, and layers that are stored so).
        scale: weight of the adapter times its own scale for the module.
        key_magnitude: DoRA's lengths of the rows, or None.
    """

    adapter: int
    key_left: str
    key_right: str
    is_transposed: bool
    scale: float
    key_magnitude: str | None = None


@dataclass(frozen=True)
class Findings:
    """What the adapters do to the base, and what cannot be done.

    Attributes:
        model: the base.
        changes: tensor name to what is added to it.
        replaced: tensor name to the adapter's tensor that takes its place.
        touched: tensor name to the names of the adapters that change it, in any way.
        problems: one sentence each.
    """

    model: ModelFile
    changes: dict[str, list[LowRank]] = field(default_factory=dict)
    replaced: dict[str, StoredTensor] = field(default_factory=dict)
    touched: dict[str, dict[str, None]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add_adapter(self, index: int, name: str, adapter: AdapterFile, weight: float) -> None:
        """Note all that an adapter does, and what of it cannot be folded."""
        misfits = [*_odd_embeddings(name, adapter), *_odd_magnitudes(name, adapter)]
        if misfits:
            self.problems.extend(misfits)
            return
        steps = [*_pairs(self.model, index, adapter, weight), *_embeddings(self.model, index, adapter, weight)]
        strange = [key for key in adapter.extra_tensors if not _is_known(key, adapter)]
        if strange:
            count = "1 tensor" if len(strange) == 1 else f"{len(strange)} tensors"
            self.problems.append(f"'{name}' holds {count} that fold does not know, for example {strange[0]}.")
        whole = [key for key in adapter.extra_tensors if ".lora_" not in key and key not in strange]
        missing = []
        for tensor, shape, change in steps:
            if self._fits(name, tensor, shape, missing):
                self._touch(name, tensor)
                self.changes.setdefault(tensor, []).append(change)
        for key in whole:
            stored, tensor = adapter.tensors[key], _whole_name(self.model, key)
            if self._fits(name, tensor, stored.shape, missing):
                self._touch(name, tensor)
                path = adapter.folder / WEIGHTS_FILE
                source = StoredTensor(tensor, stored.dtype, stored.shape, path, stored.start, stored.end)
                self.replaced[tensor] = source
        if missing:
            some = missing[0] if len(missing) == 1 else f"{missing[0]} and {len(missing) - 1} more"
            self.problems.append(f"'{name}' changes {some}, which the base does not have.")
        self.problems.extend(_only_whole(name, adapter, weight, whole))

    def _touch(self, name: str, tensor: str) -> None:
        self.touched.setdefault(tensor, {})[name] = None

    def _fits(self, name: str, tensor: str, shape: Sequence[int], missing: list[str]) -> bool:
        known = self.model.tensors.get(tensor)
        if known is None and tensor == HEAD_WEIGHT and self.model.is_tied and self.model.embedding:
            known = self.model.tensors[self.model.embedding]
        if known is None:
            missing.append(tensor)
            return False
        if known.shape != tuple(shape):
            ours, theirs = (" x ".join(map(str, each)) for each in (shape, known.shape))
            self.problems.append(f"'{name}' has {tensor} as {ours}, but in the base it is {theirs}.")
            return False
        return True


def _pairs(
    model: ModelFile, index: int, adapter: AdapterFile, weight: float
) -> Iterator[tuple[str, tuple[int, int], LowRank]]:
    """(tensor, its shape, change) of every linear layer with two factors."""
    for module in adapter.modules.values():
        is_conv1d = model.config.get("model_type") in CONV1D_MODELS and module.name.endswith(CONV1D_LAYERS)
        shape = module.out_features, module.in_features
        left, right = (module.key_a, module.key_b) if is_conv1d else (module.key_b, module.key_a)
        magnitude = PREFIX + module.name + MAGNITUDE if adapter.config.use_dora else None
        change = LowRank(index, left, right, is_conv1d, weight * module.scale, magnitude)
        yield _tensor_of(model, module.name, "weight"), shape[::-1] if is_conv1d else shape, change


def _embeddings(
    model: ModelFile, index: int, adapter: AdapterFile, weight: float
) -> Iterator[tuple[str, tuple[int, int], LowRank]]:
    """The same of embeddings: their A is (rank, tokens), their B (width, rank), and the matrix (tokens, width)."""
    for name, (_, scale) in _embedding_scales(adapter).items():
        key_a, key_b = PREFIX + name + EMBEDDING_A, PREFIX + name + EMBEDDING_B
        shape = adapter.tensors[key_a].shape[1], adapter.tensors[key_b].shape[0]
        yield _tensor_of(model, name, "weight"), shape, LowRank(index, key_a, key_b, True, weight * scale)


def _embedding_scales(adapter: AdapterFile) -> dict[str, tuple[int, float]]:
    """Every embedding that the adapter holds a factor of, with the rank and the scale of the configuration.

    Raises:
        ValueError: a pattern of the configuration cannot be used.
    """
    keys = [key.removeprefix(PREFIX) for key in adapter.extra_tensors if key.endswith((EMBEDDING_A, EMBEDDING_B))]
    names = list(dict.fromkeys(key[: -len(EMBEDDING_A)] for key in keys))
    if not names:
        return {}
    config, every = adapter.config, [*adapter.modules, *names]
    ranks = resolve_patterns(config.rank_pattern, every, config.r, "rank_pattern")
    alphas = resolve_patterns(config.alpha_pattern, every, config.lora_alpha, "alpha_pattern")
    return {
        name: (ranks[name], alphas[name] / (ranks[name] ** 0.5 if config.use_rslora else ranks[name])) for name in names
    }


def _odd_embeddings(name: str, adapter: AdapterFile) -> Iterator[str]:
    """The embeddings whose two factors are not (rank, tokens) and (width, rank)."""
    try:
        scales = _embedding_scales(adapter)
    except ValueError as error:
        yield f"'{name}': {error}"
        return
    for module, (rank, _) in scales.items():
        sides = [adapter.tensors.get(PREFIX + module + end) for end in (EMBEDDING_A, EMBEDDING_B)]
        a, b = (side.shape if side else () for side in sides)
        if (len(a), len(b)) != (2, 2) or (a[0], b[1]) != (rank, rank):
            shown = f"A {a or 'missing'}, B {b or 'missing'}, rank {rank}"
            yield f"'{name}': the factors of {module} do not fit together: {shown}."


def _odd_magnitudes(name: str, adapter: AdapterFile) -> Iterator[str]:
    """The modules without one magnitude for each of their outputs, though the configuration speaks of DoRA."""
    if not adapter.config.use_dora:
        return
    held = {module: adapter.tensors.get(PREFIX + module + MAGNITUDE) for module in adapter.modules}
    odd = [key for key, known in adapter.modules.items() if not held[key] or held[key].shape != (known.out_features,)]
    if odd:
        count = "1 more module" if len(odd) == 2 else f"{len(odd) - 1} more modules"
        more = f" and {count}" if len(odd) > 1 else ""
        yield (
            f"'{name}' has no magnitudes of DoRA that fit {odd[0]}{more}, though its configuration says use_dora: "
            "true. Set it right, or take the whole file."
        )


def _is_known(key: str, adapter: AdapterFile) -> bool:
    if key.endswith((EMBEDDING_A, EMBEDDING_B)):
        return True
    if key.endswith(MAGNITUDE):
        return adapter.config.use_dora and key.removeprefix(PREFIX).removesuffix(MAGNITUDE) in adapter.modules
    return key.startswith(PREFIX) and not any(word in key for word in (".lora_", "token_adapter"))


def _only_whole(name: str, adapter: AdapterFile, weight: float, whole: list[str]) -> Iterator[str]:
    if weight != 1 and adapter.config.use_dora:
        yield f"'{name}' uses DoRA, which is no sum: it can be folded at weight 1 only, got {weight:g}."
    if weight != 1 and whole:
        shown = whole[0].removeprefix(PREFIX)
        yield f"'{name}' holds the whole of {shown}, so it can be folded at weight 1 only, got {weight:g}."


def _whole_name(model: ModelFile, key: str) -> str:
    module, _, kind = key.removeprefix(PREFIX).replace(".base_layer.", ".").rpartition(".")
    return _tensor_of(model, module, kind)


def _tensor_of(model: ModelFile, module: str, kind: str) -> str:
    """The tensor of a module; a file may leave out the name of the model's body ("h.0" for "transformer.h.0")."""
    full, short = f"{module}.{kind}", f"{module.partition('.')[2]}.{kind}"
    return short if full not in model.tensors and short in model.tensors else full
