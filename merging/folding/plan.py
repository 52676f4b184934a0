"""What a fold does to each tensor of the base, and what stands against it: from configurations and headers alone.

A tensor is copied as it is, or taken from an adapter that holds the whole of it, or gets the sum of low-rank changes.
No torch here, and no weights are read but an adapter's two copies of one matrix, which are compared.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medley.errors import ParameterError, ProblemsError, UserError
from medley.lm.adapter_file import AdapterFile, open_adapter
from medley.lm.model_file import (
    DTYPE_OF,
    HEAD_WEIGHT,
    ModelFile,
    NewTensor,
    StoredTensor,
    holds_the_same,
    new_tensor,
    open_model,
)
from merging.check import place_problems, space_problems
from merging.checks.compatibility import joint_problems, short_names
from merging.checks.delta_check import delta_problems
from merging.folding.changes import Findings, LowRank

DTYPES = ("float32", "bfloat16", "float16")
CHAT_TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class FoldInput:
    """One adapter of a fold: its folder, its weight, and what reports and sentences call it (its folder's name)."""

    folder: Path
    weight: float = 1.0
    name: str = ""


@dataclass(frozen=True)
class TensorPlan:
    """One tensor of the result: what it starts from, and what is added to it."""

    result: NewTensor
    source: StoredTensor
    changes: tuple[LowRank, ...] = ()
    is_replaced: bool = False

    @property
    def is_copy(self) -> bool:
        """True where the base's bytes stay what they are."""
        return not self.changes and not self.is_replaced and self.result.dtype == self.source.dtype


@dataclass(frozen=True)
class FoldPlan:
    """What was found. A fold with problems is refused; warnings are shown.

    Attributes:
        problems, warnings: one plain sentence each.
        model: the base, or None when it could not be opened.
        adapters: what each input is called, and the opened adapter; only those that could be opened.
        weights: of the adapters.
        tensors: of the result; empty while there are problems.
        dtype: torch's name of the dtype of all floats, or None where each keeps that of the base.
        is_untied: the output layer gets weights of its own.
    """

    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    model: ModelFile | None = None
    adapters: Mapping[str, AdapterFile] = field(default_factory=dict)
    weights: tuple[float, ...] = ()
    tensors: tuple[TensorPlan, ...] = ()
    dtype: str | None = None
    is_untied: bool = False

    @property
    def size_bytes(self) -> int:
        """Of the result's weights."""
        return sum(plan.result.size_bytes for plan in self.tensors)

    @property
    def changed(self) -> int:
        """How many tensors are not those of the base."""
        return sum(1 for plan in self.tensors if plan.changes or plan.is_replaced)

    @property
    def has_new_embeddings(self) -> bool:
        """True where an adapter's matrix takes the place of the base's embeddings."""
        return any(plan.is_replaced for plan in self.tensors if plan.result.name == self.model.embedding)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, for JSON; None for what is not known yet."""
        return {
            "problems": list(self.problems),
            "warnings": list(self.warnings),
            "inputs": [
                {"name": name, "weight": weight} for name, weight in zip(self.adapters, self.weights, strict=True)
            ],
            "tensors": len(self.tensors) or None,
            "changed": self.changed if self.tensors else None,
            "parameters": sum(plan.source.element_count for plan in self.tensors) or None,
            "dtype": self.dtype or (self.model.dtype if self.model else None),
            "estimated_bytes": self.size_bytes or None,
        }


def plan_fold(
    base_dir: Path | None,
    inputs: Sequence[FoldInput],
    out_dir: Path | None = None,
    *,
    dtype: str | None = None,
    untie: bool = False,
) -> FoldPlan:
    """Everything that stands against a fold, and what it would make. Never raises for what a user can cause.

    Arguments as for `merging.fold`. Without `base_dir` only the adapters are looked at; without `out_dir` the place and
    the free space are not.
    """
    try:
        model = open_model(base_dir) if base_dir else None
        if dtype not in (None, *DTYPES):
            raise ParameterError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype}.")
    except ProblemsError as error:
        return FoldPlan(error.problems)
    except UserError as error:
        return FoldPlan((str(error),))
    adapters, weights, problems = _open_all(inputs)
    if len(adapters) > 1:
        problems += joint_problems(adapters)
    if model and model.is_quantized:
        problems.append("The base is quantised, and a fold needs its 16-bit or 32-bit weights. Choose those as base.")
    problems += place_problems(out_dir) if out_dir is not None else []
    plans: list[TensorPlan] = []
    is_untied = False
    if model and not problems:
        plans, is_untied, problems = _plan_tensors(model, adapters, weights, dtype=dtype, untie=untie)
    plan = FoldPlan((), (), model, adapters, weights, tuple(plans), dtype, is_untied)
    plan = replace(plan, warnings=tuple(_warnings(plan)))
    if out_dir is not None and not problems:
        problems = space_problems(out_dir, plan.size_bytes)
    return replace(plan, problems=tuple(dict.fromkeys(problems)), tensors=() if problems else plan.tensors)


def _open_all(inputs: Sequence[FoldInput]) -> tuple[dict[str, AdapterFile], tuple[float, ...], list[str]]:
    if not inputs:
        return {}, (), ["A fold needs at least one adapter."]
    names = short_names([str(each.folder) for each in inputs])
    adapters: dict[str, AdapterFile] = {}
    weights, problems = [], []
    called: dict[Path, str] = {}
    for each in inputs:
        folder = each.folder.expanduser().resolve()
        if folder in called:
            problems.append(f"'{called[folder]}' is named twice. Give it once, with the sum of the weights.")
            continue
        wanted = each.name or names[str(each.folder)]
        count = sum(1 for name in called.values() if name == wanted or name.startswith(f"{wanted} ("))
        name = called[folder] = f"{wanted} ({count + 1})" if count else wanted
        if not -1e6 < each.weight < 1e6:  # False for NaN as well
            problems.append(f"The weight of '{name}' must lie between -1e6 and 1e6, got {each.weight:g}.")
        try:
            adapters[name] = open_adapter(each.folder.expanduser())
        except ProblemsError as error:
            problems += [f"'{name}': {problem}" for problem in error.problems]
        except UserError as error:
            problems.append(f"'{name}': {error}")
        else:
            weights.append(each.weight)
            problems += delta_problems(name, adapters[name])
    return adapters, tuple(weights), problems


def _plan_tensors(
    model: ModelFile, adapters: Mapping[str, AdapterFile], weights: Sequence[float], *, dtype: str | None, untie: bool
) -> tuple[list[TensorPlan], bool, list[str]]:
    """Every tensor of the result in the base's order, whether the output layer was untied, and the problems."""
    found = Findings(model)
    for index, ((name, adapter), weight) in enumerate(zip(adapters.items(), weights, strict=True)):
        if weight:
            found.add_adapter(index, name, adapter, weight)
    sources = dict(model.tensors)
    touched = [name for name in (model.embedding, HEAD_WEIGHT) if name in found.touched] if model.is_tied else []
    if not untie and _are_still_one(found):
        touched = []
    if touched and model.embedding:
        sources[HEAD_WEIGHT] = sources[model.embedding]
        if not untie:
            found.problems.append(_tied_problem(found, touched, sources[model.embedding].size_bytes))
    plans = []
    for name, source in sources.items():
        changes = tuple(found.changes.get(name, ()))
        start = found.replaced.get(name, source)
        plans.append(TensorPlan(new_tensor(source, name, dtype), start, changes, name in found.replaced))
        found.problems.extend(_meeting_problems(found, name, source))
    return plans, bool(touched), found.problems


def _are_still_one(found: Findings) -> bool:
    """Whether the embeddings and the output layer are both replaced, by two copies that are equal to the bit."""
    names = (found.model.embedding, HEAD_WEIGHT)
    if not all(name in found.replaced and name not in found.changes for name in names):
        return False
    return holds_the_same(*(found.replaced[name] for name in names))


def _tied_problem(found: Findings, touched: Sequence[str], size_bytes: int) -> str:
    names = dict.fromkeys(f"'{name}'" for tensor in touched for name in found.touched[tensor])
    return (
        f"{' and '.join(names)} changed {' and '.join(touched)}, but the base has one matrix "
        "as embeddings and output layer, so each would change the other. Untie them (--untie); that adds "
        f"{size_bytes / 1e6:.1f} MB."
    )


def _meeting_problems(found: Findings, name: str, source: StoredTensor) -> Iterator[str]:
    """What adapters do to one tensor must be a sum, and the tensor must be numbers that can be added to."""
    touching = found.touched.get(name, {})
    has_magnitude = any(change.key_magnitude for change in found.changes.get(name, ()))
    if touching and not source.is_float:
        kinds = ", ".join(DTYPE_OF.values())
        yield (
            f"The base holds {name} as {source.dtype}, and only {kinds} can be folded into. Choose its 16-bit or "
            "32-bit weights as base."
        )
    if has_magnitude and (name not in found.model.tensors or found.changes[name][0].is_transposed):
        yield f"{' and '.join(touching)} uses DoRA on {name}, where fold does not know its magnitudes."
    if len(touching) > 1 and (has_magnitude or name in found.replaced):
        what = "by DoRA" if has_magnitude else "as a whole"
        shown = " and ".join(f"'{each}'" for each in touching)
        yield f"{shown} both change {name}, one of them {what}, so there is no sum. Fold one of them."


def _warnings(plan: FoldPlan) -> Iterator[str]:
    if plan.model is None:
        return
    own = _text(plan.model.folder / CHAT_TEMPLATE)
    if plan.model.is_tied and not plan.is_untied and plan.has_new_embeddings:
        yield (
            "The embeddings and the output layer that the adapter holds are equal to the bit, so the model keeps one "
            "matrix for both."
        )
    for name, adapter in plan.adapters.items():
        template = _text(adapter.folder / CHAT_TEMPLATE)
        if template is not None and template != own:
            yield f"'{name}' brings a chat template of its own; the folded model keeps the base's."


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
