"""What stands against turning an adapter into a plain LoRA, from configurations and headers alone. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medley.errors import ProblemsError, UserError
from medley.lm.adapter_file import PREFIX, AdapterFile, hub_id, open_adapter
from medley.lm.model_tensors import StoredTensor, list_tensors
from medley.lm.module_patterns import resolve_patterns
from merging.check import BYTES_OF, place_problems, space_problems, widest_dtype
from merging.checks.compatibility import CHANGES_THE_BASE, OTHER_KINDS, OTHER_MATHS
from merging.converting.kinds import KINDS, Kind, Shapes
from merging.converting.options import ConvertOptions

ONLY_DEFAULTS = {"coft": False, "use_cayley_neumann": True, "num_cayley_neumann_terms": 5}  # of OFT
DEFAULT_R, DEFAULT_ALPHA, DEFAULT_INIT_R = 8, 8, 12  # peft's


@dataclass(frozen=True)
class Source:
    """One module of the adapter: its scale, the delta's sizes and largest rank, and its tensors by part."""

    scale: float
    sizes: tuple[int, int]
    rank: int
    parts: Mapping[str, str]


@dataclass(frozen=True)
class ConvertPreflight:
    """What was found. A conversion with problems is refused.

    Attributes:
        problems: one plain sentence each.
        adapter: opened, or None when it could not be.
        modules: by name.
        saved: tensors that the adapter replaces whole and that go along: name in the base to name in the file.
        base: the base's tensors, where they are needed.
        dtype, rank_plan, estimated_bytes: of the result; ranks are the largest it can have.
    """

    problems: tuple[str, ...]
    adapter: AdapterFile | None = None
    modules: Mapping[str, Source] = field(default_factory=dict)
    saved: Mapping[str, str] = field(default_factory=dict)
    base: Mapping[str, StoredTensor] = field(default_factory=dict)
    dtype: str = "float32"
    rank_plan: Mapping[str, int] = field(default_factory=dict)
    estimated_bytes: int = 0

    @property
    def kind(self) -> Kind:
        return KINDS[self.adapter.config.kind]

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, for JSON; None for what is not known yet."""
        return {
            "problems": list(self.problems),
            "kind": self.adapter.config.kind if self.adapter else None,
            "rank_plan": dict(self.rank_plan),
            "dtype": self.dtype if self.estimated_bytes else None,
            "estimated_bytes": self.estimated_bytes or None,
        }


def needs_base(adapter: AdapterFile) -> bool:
    """Whether the base's weights have to be read to convert it."""
    kind = KINDS.get(adapter.config.kind)
    return kind is not None and kind.needs_base


def convert_preflight(
    adapter_dir: Path,
    options: ConvertOptions,
    *,
    base: Path | None = None,
    name: str | None = None,
    out_dir: Path | None = None,
) -> ConvertPreflight:
    """Everything that stands against a conversion, from configurations and headers. Never raises for a user's mistake.

    Args:
        adapter_dir: the adapter's folder.
        base: the base model's folder; needed for DoRA, IA3, OFT and VeRA.
        name: what to call the adapter in sentences; by default its folder's name.
        out_dir: where the result is to go; None leaves the place and the free space out.
    """
    name = name or adapter_dir.name
    problems = [*options.problems(), *(place_problems(out_dir) if out_dir is not None else [])]
    try:
        adapter = open_adapter(adapter_dir)
    except ProblemsError as error:
        return ConvertPreflight((*problems, *error.problems))
    except UserError as error:
        return ConvertPreflight((*problems, str(error)))
    problems += _kind_problems(name, adapter)
    if problems:
        return ConvertPreflight(tuple(problems), adapter)
    saved, groups, more_problems = _sort_tensors(name, adapter)
    problems += more_problems
    tensors: Mapping[str, StoredTensor] = {}
    if needs_base(adapter):
        tensors, more_problems = _base_tensors(name, adapter, base)
        problems += more_problems
    if problems:
        return ConvertPreflight(tuple(problems), adapter)
    modules, problems = _sources(name, adapter, groups, tensors)
    if problems:
        return ConvertPreflight(tuple(problems), adapter, modules)
    return _sized(ConvertPreflight((), adapter, modules, saved, tensors), options, out_dir)


def _sized(found: ConvertPreflight, options: ConvertOptions, out_dir: Path | None) -> ConvertPreflight:
    """The same with the result's dtype, ranks and bytes, and a problem where there is no room for them."""
    dtype = options.dtype or widest_dtype([found.adapter])
    modules, has_full_rank = found.modules, found.kind.has_full_rank
    ranks = {module: _largest_rank(source, options, has_full_rank) for module, source in modules.items()}
    size = sum(rank * sum(modules[module].sizes) for module, rank in ranks.items()) * BYTES_OF[dtype]
    problems = space_problems(out_dir, size) if out_dir is not None else []
    return replace(found, problems=tuple(problems), dtype=dtype, rank_plan=ranks, estimated_bytes=size)


def _kind_problems(name: str, adapter: AdapterFile) -> list[str]:
    """Why an adapter of this kind, or with these settings, cannot become a plain LoRA."""
    config = adapter.config
    if config.kind not in KINDS:
        what = OTHER_KINDS.get(config.peft_type, f"a {config.kind} adapter, which is not known here")
        return [f"'{name}' is {what}. There is no weight delta that a LoRA could hold."]
    if adapter.is_reward_model or config.task_type == "SEQ_CLS":
        return [f"'{name}' has a score head, which a conversion would lose."]
    problems = [
        f"'{name}' {what}, which is more than a delta of linear weights."
        for key, what in OTHER_MATHS.items()
        if config.raw.get(key)
    ]
    if config.base_model is None or not (hub_id(config.base_model) or config.base_model.startswith("folder:")):
        problems.append(
            f"'{name}' does not name its base in a way that others understand. Import it with --base first."
        )
    if config.lora_bias or config.raw.get("bias") not in (None, "none"):
        problems.append(f"'{name}' also trained biases, which a plain LoRA cannot hold.")
    if config.raw.get("ensure_weight_tying"):
        problems.append(
            f"'{name}' ties what it trained to other layers (ensure_weight_tying), which a plain LoRA would not."
        )
    if config.fan_in_fan_out:
        problems.append(f"'{name}' belongs to a base that stores its weights transposed (fan_in_fan_out).")
    problems += [
        f"'{name}' sets {key} to {value}, and only peft's default of {default} can be converted."
        for key, default in ONLY_DEFAULTS.items()
        if config.kind == "oft" and (value := config.raw.get(key, default)) != default
    ]
    start = str(config.init_lora_weights).lower()
    if start.startswith(CHANGES_THE_BASE):
        problems.append(
            f"'{name}' was initialised with {start}, which also changed the base's weights, and by how much is not in "
            "the file. Save it with peft's path_initial_model_for_weight_conversion first."
        )
    return problems


def _sort_tensors(name: str, adapter: AdapterFile) -> tuple[dict[str, str], dict[str, dict[str, str]], list[str]]:
    """Tensors that are saved whole, the parts of each module, and what fits neither."""
    kind = KINDS[adapter.config.kind]
    shared = {part: key for part in kind.shared if (key := f"base_model.{part}") in adapter.tensors}
    saved: dict[str, str] = {}
    groups: dict[str, dict[str, str]] = {}
    odd = []
    for key in (key for key in adapter.tensors if key not in shared.values()):
        inner = key.removeprefix(PREFIX)
        part = next((part for part in kind.parts if inner.endswith(f".{part}")), None)
        module = inner.rpartition(".")[0]
        if part is not None:
            groups.setdefault(inner.removesuffix(f".{part}"), {**shared})[part] = key
        elif module.endswith(adapter.config.modules_to_save):  # as peft: "norm" is input_layernorm as well
            saved[inner] = key
        else:
            odd.append(key)
    problems = []
    if odd:
        count = "1 tensor" if len(odd) == 1 else f"{len(odd)} tensors"
        problems.append(f"'{name}' holds {count} that a plain LoRA has no place for, for example {odd[0]}.")
    if not groups:
        problems.append(f"'{name}' holds no {kind.word} weights.")
    elif len(shared) < len(kind.shared):
        problems.append(f"'{name}' was saved without the matrices that its modules share (save_projection).")
    return saved, groups, problems


def _base_tensors(name: str, adapter: AdapterFile, base: Path | None) -> tuple[Mapping[str, StoredTensor], list[str]]:
    word = KINDS[adapter.config.kind].word
    if base is None:
        article = "an" if word[0] in "AIO" else "a"
        what = f"{article} {word} adapter, whose delta depends on the base's weights"
        if not KINDS[adapter.config.kind].has_full_rank:
            what = f"{article} {word} adapter, which does not say the sizes of the base's weights"
        return {}, [f"'{name}' is {what}. Give the base's folder."]
    try:
        return list_tensors(base), []
    except UserError as error:
        return {}, [str(error)]


def _sources(
    name: str, adapter: AdapterFile, groups: Mapping[str, Mapping[str, str]], base: Mapping[str, StoredTensor]
) -> tuple[dict[str, Source], list[str]]:
    """Every module with its scale and sizes, if its shapes fit together and fit the base."""
    modules, problems, odd = {}, [], {}
    scales = _scales(adapter, list(groups))
    for module, parts in groups.items():
        shapes = {part: adapter.tensors[key].shape for part, key in parts.items()}
        weight = base.get(f"{module}.weight")
        found = _sizes(adapter.config.kind, shapes, weight.shape if weight else None)
        if found is None:
            odd[module] = _shown(adapter.config.kind, shapes, weight)
        elif adapter.config.kind == "ia3" and f"{module}.bias" in base and shapes["ia3_l"][1] == 1:
            problems.append(f"'{name}' also scales the bias of {module}, which a plain LoRA cannot do.")
        else:
            sizes, rank = found
            modules[module] = Source(scales[module], sizes, min(rank, *sizes), parts)
    for module, shown in list(odd.items())[:1]:
        count = "1 more module" if len(odd) == 2 else f"{len(odd) - 1} more modules"
        more = f" (and those of {count})" if len(odd) > 1 else ""
        problems.append(f"'{name}': the tensors of {module}{more} do not fit together: {shown}.")
    return modules, problems


def _shown(kind: str, shapes: Shapes, weight: StoredTensor | None) -> str:
    """A module's tensors with their shapes, those it lacks, and the weight they should fit."""
    parts = [f"{part} {shape}" for part, shape in shapes.items()]
    parts += [f"no {part}" for part in KINDS[kind].parts if part not in shapes and kind != "lokr"]
    if weight is None:
        return ", ".join(parts) + (", and the base has no such weight" if KINDS[kind].needs_base else "")
    return f"{', '.join(parts)} beside a weight {weight.shape}"


def _scales(adapter: AdapterFile, names: list[str]) -> dict[str, float]:
    config = adapter.config
    if KINDS[config.kind].has_alpha:
        ranks = resolve_patterns(config.rank_pattern, names, config.raw.get("r") or DEFAULT_R, "rank_pattern")
        alpha = config.raw.get("alpha") or DEFAULT_ALPHA
        alphas = resolve_patterns(config.alpha_pattern, names, alpha, "alpha_pattern")
        return {name: alphas[name] / ranks[name] for name in names}
    if config.kind == "adalora":  # peft adds 1e-5 to the rank, and keeps the first one when it takes ranks away
        scale = (config.lora_alpha or DEFAULT_ALPHA) / ((config.raw.get("init_r") or DEFAULT_INIT_R) + 1e-5)
        return dict.fromkeys(names, scale)
    return {name: adapter.modules[name].scale if name in adapter.modules else 1.0 for name in names}


def _sizes(kind: str, shapes: Shapes, weight: tuple[int, ...] | None) -> tuple[tuple[int, int], int] | None:
    """((m, n), rank) of a module's delta, or None where its tensors do not fit."""
    try:
        sizes, rank = KINDS[kind].sizes(shapes)
    except (KeyError, ValueError):
        return None
    if not KINDS[kind].needs_base:
        return sizes, rank  # otherwise the sizes are the base's
    if weight is None or len(weight) != 2:
        return None
    fits = all(mine in (0, size) for mine, size in zip(sizes, weight, strict=True))
    return ((weight[0], weight[1]), min(weight) if KINDS[kind].has_full_rank else rank) if fits else None


def _largest_rank(source: Source, options: ConvertOptions, has_full_rank: bool) -> int:
    rule = options.rule(has_full_rank=has_full_rank)
    if rule.kind == "at_most":
        return min(int(rule.value), source.rank)
    return min(options.max_rank, source.rank) if has_full_rank else source.rank
