"""Does a merge with learned weights: they are learned or searched for, written into the recipe, and merged."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medley.jobs.base_names import identity_of
from medley.jobs.bases import base_folder
from medley.jobs.pinned_adapters import open_pinned
from medley.jobs.run_merge import merge_and_register
from medley.jobs.work import JobStopped, JobWork
from medley.lm.importing import import_quickly

if TYPE_CHECKING:
    from merging import Recipe
    from trainers.learn_weights import LearnedWeights, Weighting

PAPERS = {"gradient": "arXiv:2410.13025", "search": "arXiv:1907.10902"}


def run(work: JobWork) -> str:
    """The id of the merged version."""
    from hub import Parent
    from medley.options import from_mapping
    from merging import parse_recipe
    from trainers.weight_options import WeightOptions
    from trainers.work import TrainWork

    with import_quickly():
        from trainers.learn_weights import learn_weights
    params = work.spec.params
    options = from_mapping(WeightOptions, params["options"])
    base, data = work.input(params["base"]), work.input(params["data"])
    adapters = {name: open_pinned(work, pinned) for name, pinned in params["inputs"].items()}
    training = TrainWork(
        base_dir=base_folder(work.registry, base, work.emit_or_stop),
        base_id=identity_of(base)[0],
        data_dir=data.path,
        out_dir=work.out_dir,
        emit=work.emit,
        should_stop=work.should_stop,
    )
    learned = learn_weights(options, adapters, training)
    if work.should_stop():
        raise JobStopped
    if not learned.is_better:
        work.emit("warning", text=not_better(learned))
    recipe = with_weights(parse_recipe(params["recipe"]), list(adapters), learned)
    facts = {"paper": PAPERS[options.how], "learned_weights": report_of(learned, labels_of(params))}
    return merge_and_register(work, recipe.to_mapping(), parents=[Parent(data.id, "data")], facts=facts)


def with_weights(recipe: "Recipe", adapters: list[str], learned: "LearnedWeights") -> "Recipe":
    """The recipe with the learned weights: a number, or a value for each layer from the first to the last."""

    def weighed(source: Any) -> Any:
        values = learned.learned.weights[adapters.index(source.model)]
        weight = values[0] if len(values) == 1 else list(values)
        return dataclasses.replace(source, parameters={**source.parameters, "weight": weight})

    slices = tuple(
        dataclasses.replace(part, sources=tuple(weighed(source) for source in part.sources)) for part in recipe.slices
    )
    return dataclasses.replace(recipe, slices=slices)


def labels_of(params: Mapping[str, Any]) -> list[str]:
    """The inputs as people call them."""
    return [each["label"] for each in params["inputs"].values()]


def not_better(learned: "LearnedWeights") -> str:
    """The sentence for weights that are worth nothing."""
    from trainers.weight_options import BASE_ALONE

    best = learned.best_plain
    what = best.name if best.name == BASE_ALONE else f"plain task arithmetic with {best.name}"
    return (
        f"On the eval split {what} is as good or better "
        f"({words_of(best)} against {words_of(learned.learned)}): use it, or give more rows to learn from."
    )


def words_of(weighting: "Weighting") -> str:
    return f"loss {weighting.loss:.4f}" if weighting.score is None else f"reward {weighting.score:.4f}"


def report_of(learned: "LearnedWeights", labels: list[str]) -> dict[str, Any]:
    """What the version's metadata keep: every weighting that was measured, the learned one first."""
    rows = []
    for each in (learned.learned, *learned.plain):
        weights = dict(zip(labels, (list(values) for values in each.weights), strict=True))
        rows.append({"name": each.name, "loss": each.loss, "score": each.score, "weights": weights})
    return {"metric": learned.metric, "is_better": learned.is_better, "rows": rows}
