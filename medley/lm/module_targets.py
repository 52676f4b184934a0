"""Whether `target_modules` and `exclude_modules` mean the modules that the file has weights for.

peft builds layers for what these two match and drops weights that no layer was built for, so a mismatch would load as
a different adapter, with a warning at most. Every problem here is a ValueError that `open_adapter` completes.
"""

from collections.abc import Iterator, Sequence

from medley.lm.adapter_config import AdapterConfig
from medley.lm.module_patterns import PLAIN_NAME, match_names

ALL_LINEAR = "all-linear"  # peft's own word for "every linear layer but the head"; not an expression


def check_targets(config: AdapterConfig, modules: Sequence[str], tensors: Sequence[str]) -> None:
    """Nothing, if peft would build exactly the layers that the file has weights for, as far as the file can tell.

    Args:
        modules: names of the plain LoRA modules; empty for other kinds of adapters.
        tensors: names of all tensors, without "base_model.model.".

    Raises:
        ValueError: what does not fit.
    """
    _check_excluded(config.raw.get("exclude_modules"), modules, tensors)
    targets = config.target_modules
    if isinstance(targets, tuple):
        _check_list(set(targets), modules)
    elif targets in {None, ALL_LINEAR}:
        return
    elif modules:
        _check_expression(targets, modules)
    elif not PLAIN_NAME.fullmatch(targets):
        _check_owners(targets, tensors)


def _check_excluded(excluded: str | list[str] | None, modules: Sequence[str], tensors: Sequence[str]) -> None:
    if isinstance(excluded, str):  # the tensors' names only to see that it ends in time, whatever kind this is
        matched = _match(excluded, [*modules, *tensors], "exclude_modules").intersection(modules)
    else:
        matched = {name for name in modules if _is_listed(name, set(excluded or ()))}
    if matched:
        raise ValueError(f"exclude_modules matches '{min(matched)}', which has weights.")


def _check_list(targets: set[str], modules: Sequence[str]) -> None:
    missed = next((name for name in modules if not _is_listed(name, targets)), None)
    if missed is not None:
        raise ValueError(f"target_modules does not name '{missed}', which has weights, so peft would ignore them.")


def _check_expression(expression: str, modules: Sequence[str]) -> None:
    """It must match every module of the file, and none of the modules that merely contain one."""
    parents = sorted({parent for name in modules for parent in _beginnings(name)})
    matched = _match(expression, [*modules, *parents], "target_modules")
    missed = next((name for name in modules if name not in matched), None)
    if missed is not None:
        raise ValueError(f"target_modules {expression[:100]!r} does not match '{missed}'.")
    parent = next((name for name in parents if name in matched), None)
    if parent is not None:
        raise ValueError(
            f"target_modules {expression[:100]!r} matches more than the modules in the file, for example '{parent}'."
        )


def _check_owners(expression: str, tensors: Sequence[str]) -> None:
    """For kinds whose tensors are not named after LoRA: a module that contains the tensor must match."""
    owners = {name: list(_beginnings(name)) for name in tensors}
    matched = _match(expression, sorted({owner for each in owners.values() for owner in each}), "target_modules")
    missed = next((name for name, each in owners.items() if not matched.intersection(each)), None)
    if missed is not None:
        raise ValueError(f"target_modules {expression[:100]!r} does not match '{missed}'.")


def _match(expression: str, names: Sequence[str], option: str) -> set[str]:
    try:
        return match_names([expression], names)[0]
    except ValueError as error:
        raise ValueError(f"in {option}, {error}") from error


def _is_listed(name: str, targets: set[str]) -> bool:
    """As peft compares: a listed name is the module's whole name or its end after a dot."""
    parts = name.split(".")
    return any(".".join(parts[start:]) in targets for start in range(len(parts)))


def _beginnings(name: str) -> Iterator[str]:
    """The names of the modules that contain this one, outermost first."""
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts)))
