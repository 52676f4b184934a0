"""A merge with learned weights as a job: adapters and data in, one version with its weights and their worth out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hub import Registry, Version
from hub.intake import import_adapter
from medley.cli.main import run as medley
from medley.errors import ProblemsError
from medley.jobs import Jobs, learn_weights_spec, parse_spec
from medley.jobs.run_learn_weights import not_better
from merging import parse_recipe
from tests.jobs.conftest import done
from trainers.learn_weights import LearnedWeights, Weighting

FEW = {"steps": 2, "batch_size": 2, "max_rows": 4, "max_eval_rows": 2, "device": "cpu"}


def test_weights_are_learned_merged_and_registered(
    jobs: Jobs, registry: Registry, base: Version, sums: Version, make_adapter: Callable[..., Path]
) -> None:
    parents = [import_adapter(registry, make_adapter(name, seed=seed), name)[0] for seed, name in enumerate("ab")]
    spec = learn_weights_spec(registry, ["a", "b"], data="sums", name="both", options=FEW)
    assert parse_spec(spec.to_yaml()) == spec
    assert spec.lane == "train:cpu"
    job = done(jobs, jobs.submit(spec).id)
    version = registry.get("both", "adapter")
    assert version.id == job.result
    assert {(role, parent.id) for role, parent in registry.parents(version.id) if parent} == {
        *(("input", parent.id) for parent in parents),
        ("data", sums.id),
    }
    report = version.metadata["learned_weights"]
    assert [row["name"] for row in report["rows"]] == ["learned", "1/n each", "1 each", "the base alone"]
    learned = report["rows"][0]["weights"]
    assert {name: len(values) for name, values in learned.items()} == {"a:v1": 2, "b:v1": 2}
    recipe = parse_recipe(version.recipe)
    sources = recipe.slices[0].sources
    assert recipe.merge_method == "task_arithmetic"
    assert [source.parameters["weight"] for source in sources] == list(learned.values())
    assert all(abs(value - 0.5) <= 2 * 0.03 + 1e-6 for values in learned.values() for value in values)  # two Adam steps


def test_everything_that_is_wrong_is_told_before_anything_is_queued(
    registry: Registry, base: Version, make_adapter: Callable[..., Path]
) -> None:
    import_adapter(registry, make_adapter("a"), "a")
    with pytest.raises(ProblemsError) as caught:
        learn_weights_spec(registry, ["a", "a"], data="nothing", name="Bad Name", options={"steps": 0})
    text = "\n".join(caught.value.problems)
    assert "There is no dataset named 'nothing'." in text
    assert "Weights are learned for two or more adapters, each named once." in text
    assert "steps must be in [1, 100000], got 0." in text


def test_the_command_line_names_what_is_missing(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert medley(["learn-weights", "a", "b", "--data", "d"]) == 2
    assert "Missing option '--name'." in capsys.readouterr().err


def test_weights_that_are_worth_nothing_are_told() -> None:
    plain = (Weighting("1/n each", ((0.5,), (0.5,)), 1.25),)
    found = LearnedWeights(Weighting("learned", ((0.3,), (0.7,)), 1.5), plain, "loss")
    assert not_better(found) == (
        "On the eval split plain task arithmetic with 1/n each is as good or better (loss 1.2500 against loss 1.5000): "
        "use it, or give more rows to learn from."
    )
    bare = (Weighting("the base alone", ((0.0,), (0.0,)), 1.0),)
    assert not_better(LearnedWeights(Weighting("learned", ((0.3,), (0.7,)), 1.5), bare, "loss")).startswith(
        "On the eval split the base alone is as good or better (loss 1.0000 "
    )
