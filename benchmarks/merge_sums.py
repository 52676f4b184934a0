"""Single modules in memory against peft: the exact sums, and elementwise rules in both spaces.

Both sides get the same factors and as many threads. peft needs a dense singular value decomposition for each module,
so it is timed on fewer of them; all times are per module.
"""

import statistics
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from benchmarks.merge_case import Result, Row, seconds_text
from benchmarks.merge_inputs import Factors, random_modules, time_peft
from merging import recipe_from_weights
from merging.parallel import in_order
from merging.plan import ModulePlan
from merging.reading import one_thread
from merging.solve import Inputs, Merged, merge_module, module_seed, space_stack

ADAPTERS, RANK, DENSITY = 4, 16, 0.5
WEIGHTS = (0.4, 0.3, 0.2, 0.1)
EXACT_GOAL, CORE_GOAL, DELTA_GOAL, DELTA_ERROR = 1000, 200, 15, 1.01
RULES = {"ties": "ties_svd", "dare_ties": "dare_ties_svd"}
RULE_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "ties": {"normalize": True, "rescale": False, "lambda_": 1.0},
    "dare_ties": {"normalize": False, "rescale": True, "lambda_": 1.0},
}


def time_ours(
    modules: Sequence[Sequence[Factors]],
    weights: Sequence[float],
    method: str,
    *,
    rounds: int,
    space: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[float, Merged]:
    """Seconds per module, the median of the rounds, and the first module's result, cut to the rank of an input.

    The error that every merge reports is computed too.
    """
    count, (b, a) = len(weights), modules[0][0]
    parameters = {"density": DENSITY} if space else None
    models = [(str(index), weight) for index, weight in enumerate(weights)]
    recipe = recipe_from_weights(method, models, parameters, rank=b.shape[1], space=space)
    per_model = {"density": (DENSITY,) * count} if space else {}
    shape = b.shape[0], a.shape[1]
    plan = ModulePlan("module", *shape, tuple(range(count)), tuple(weights), per_model, settings or {})

    def merge_one(inputs: Sequence[Factors]) -> Merged:
        return merge_module(recipe, plan, Inputs(inputs, weights, per_model, [1.0] * count), torch.float32)

    times = []
    with one_thread() as threads:
        first = merge_one(modules[0])  # warms up
        for _ in range(rounds):
            started = time.perf_counter()
            for _ in in_order(merge_one, modules, threads):
                pass
            times.append((time.perf_counter() - started) / len(modules))
    return statistics.median(times), first


def relative_error(found: Factors, inputs: Sequence[Factors], weights: Sequence[float]) -> float:
    """‖found − Σ wᵢBᵢAᵢ‖ / ‖Σ wᵢBᵢAᵢ‖, dense in float64."""
    exact = sum(weight * b.double() @ a.double() for weight, (b, a) in zip(weights, inputs, strict=True))
    return float((found[0].double() @ found[1].double() - exact).norm() / exact.norm())


def exact_linear(options: Namespace) -> Result:
    """Σ wᵢ·ΔWᵢ of four adapters, cut to rank 16."""
    modules = random_modules(options.modules, options.size, adapters=ADAPTERS, rank=RANK)
    ours, merged = time_ours(modules, WEIGHTS, "linear", rounds=options.rounds, settings={"normalize": True})
    return _against_svd("linear", options, modules, WEIGHTS, ours, merged)


def exact_slerp(options: Namespace) -> Result:
    """A point between two adapters, cut to rank 16. peft has no SLERP: it sums by the coefficients of ours."""
    from merging.methods.slerp import coefficients

    modules = random_modules(options.modules, options.size, adapters=2, rank=RANK)
    settings = {"t": 0.3}
    ours, merged = time_ours(modules, (1.0, 1.0), "slerp", rounds=options.rounds, settings=settings)
    return _against_svd("SLERP", options, modules, coefficients(modules[0], **settings), ours, merged)


def _against_svd(
    name: str,
    options: Namespace,
    modules: Sequence[Sequence[Factors]],
    weights: Sequence[float],
    ours: float,
    merged: Merged,
) -> Result:
    theirs, their_factors = time_peft(list(reversed(modules[: options.peft_modules])), weights, "svd")
    row = Row(
        f"exact {name}, one module, against peft `svd`",
        f"≥ {EXACT_GOAL}x faster, error no larger",
        theirs / ours,
        EXACT_GOAL,
        ours=seconds_text(ours),
        theirs=seconds_text(theirs),
        our_error=relative_error(merged.factors, modules[0], weights),
        their_error=relative_error(their_factors, modules[0], weights),
    )
    return Result([row], _modules_note(options, len(modules[0]), options.modules))


def core(options: Namespace) -> Result:
    """TIES and DARE-TIES in the small shared space."""
    modules = random_modules(options.modules, options.size, adapters=ADAPTERS, rank=RANK)
    rows = []
    for rule, combination in RULES.items():
        settings = RULE_SETTINGS[rule]
        ours, _ = time_ours(modules, WEIGHTS, rule, rounds=options.rounds, space="core", settings=settings)
        theirs, _ = time_peft(modules[: options.peft_modules], WEIGHTS, combination, density=DENSITY)
        rows.append(
            Row(
                f"{rule} in `core`, one module, against peft `{combination}`",
                f"≥ {CORE_GOAL}x faster",
                theirs / ours,
                CORE_GOAL,
                ours=seconds_text(ours),
                theirs=seconds_text(theirs),
            )
        )
    note = _modules_note(options, ADAPTERS, options.modules)
    return Result(rows, note + " Rules in `core` are other rules than on dense deltas, so no error is compared.")


def delta(options: Namespace) -> Result:
    """TIES and DARE-TIES on dense deltas, cut to rank 16; the error is held against the best cut of our own result."""
    modules = random_modules(options.dense_modules, options.size, adapters=ADAPTERS, rank=RANK)
    rows = []
    for rule, combination in RULES.items():
        settings = RULE_SETTINGS[rule]
        ours, merged = time_ours(modules, WEIGHTS, rule, rounds=1, space="delta", settings=settings)
        theirs, _ = time_peft(modules[: options.peft_modules], WEIGHTS, combination, density=DENSITY)
        rows.append(
            Row(
                f"{rule} in `delta`, one module, against peft `{combination}`",
                f"≥ {DELTA_GOAL}x faster, error ≤ {DELTA_ERROR}x of the best cut",
                theirs / ours,
                DELTA_GOAL,
                ours=seconds_text(ours),
                theirs=seconds_text(theirs),
                our_error=merged.error,
                their_error=best_error(rule, modules[0]),
                most_error=DELTA_ERROR,
            )
        )
    note = _modules_note(options, ADAPTERS, options.dense_modules)
    return Result(rows, note + ' "Theirs" in the error column of `delta` is the best cut, by a dense decomposition.')


def best_error(rule: str, inputs: Sequence[Factors]) -> float:
    """What the best cut to rank 16 of the rule's dense result misses, as a share of its norm."""
    from merging import METHODS

    models = [(str(index), weight) for index, weight in enumerate(WEIGHTS)]
    recipe = recipe_from_weights(rule, models, {"density": DENSITY}, space="delta")
    generator = torch.Generator().manual_seed(module_seed(recipe.seed, "module"))
    merged = METHODS[rule].function("mergekit")(
        space_stack(recipe, inputs),
        weights=WEIGHTS,
        generator=generator,
        density=(DENSITY,) * len(inputs),
        **RULE_SETTINGS[rule],
    )
    values = torch.linalg.svdvals(merged).double()
    return float(values[RANK:].norm() / values.norm())


def _modules_note(options: Namespace, adapters: int, modules: int) -> str:
    return (
        f"{adapters} adapters of rank {RANK}, modules of {options.size} x {options.size}, cut to rank {RANK}; per "
        f"module, over {modules} of ours and {options.peft_modules} of peft's, {torch.get_num_threads()} threads."
    )
