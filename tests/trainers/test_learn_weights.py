"""Weights of a merge learned from rows: the right adapter gains, the useless one loses, and the numbers are honest."""

import dataclasses
from pathlib import Path

import pytest
import torch

from medley.errors import ProblemsError
from medley.lm.adapter_file import open_adapter
from medley.lm.adapter_tensors import iterate_scaled_factors
from medley.lm.engine import Engine
from medley.lm.load import load_base
from medley.options import from_mapping
from tests.tiny_model import TINY_BASE_ID, write_tiny_adapter
from tests.trainers.conftest import write_dataset
from trainers import TRAINERS, SFTOptions, TrainWork
from trainers.learn_weights import LearnedWeights, Weighting, learn_weights
from trainers.weight_options import WeightOptions
from trainers.weighted_deltas import WeightedDeltas, layer_of

SMALL = WeightOptions(device="cpu", max_length=64, steps=20, learning_rate=0.1)


@pytest.fixture(scope="module")
def pair(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An adapter that has learned the rows, and one of noise."""
    folder = tmp_path_factory.mktemp("pair")
    options = SFTOptions(
        rank=4, max_steps=15, epochs=100.0, learning_rate=1e-2, max_length=64, device="cpu", max_eval_rows=0, samples=0
    )
    places = {"data_dir": write_dataset(folder / "dataset"), "out_dir": folder / "taught"}
    taught = TRAINERS["sft"].train(options, TrainWork(base_dir=tiny_base, base_id=TINY_BASE_ID, **places)).adapter_dir
    assert taught is not None
    return {"taught": taught, "noise": write_tiny_adapter(tiny_base, folder / "noise")}


@pytest.fixture
def work(tiny_base: Path, dataset: Path, tmp_path: Path) -> TrainWork:
    return TrainWork(base_dir=tiny_base, base_id=TINY_BASE_ID, data_dir=dataset, out_dir=tmp_path / "out")


def test_weighted_deltas_are_the_engines_blend(tiny_base: Path, pair: dict[str, Path]) -> None:
    base = load_base(tiny_base, device="cpu", dtype="float32")
    engine = Engine(base)
    for name, folder in pair.items():
        engine.add(name, folder)
    ids = [5, 9, 2, 30, 7]
    wanted = engine.logits(ids, {"taught": 0.75, "noise": -0.5})
    plain = base.model(torch.tensor([ids])).logits[0]
    deltas = WeightedDeltas(
        base.model, [dict(iterate_scaled_factors(open_adapter(folder))) for folder in pair.values()], layers=2
    )
    assert deltas.values() == [[0.5, 0.5], [0.5, 0.5]]
    deltas.set([0.75, -0.5])
    with torch.no_grad():
        torch.testing.assert_close(base.model(torch.tensor([ids])).logits[0], wanted, atol=1e-5, rtol=1e-5)
        deltas.detach_hooks()
        assert torch.equal(base.model(torch.tensor([ids])).logits[0], plain)


def test_the_gradient_finds_the_adapter_that_helps(pair: dict[str, Path], work: TrainWork) -> None:
    told: list[str] = []
    listening = dataclasses.replace(work, emit=lambda kind, **fields: told.append(kind))
    found = learn_weights(dataclasses.replace(SMALL, per="adapter"), pair, listening)
    (taught,), (noise,) = found.learned.weights
    assert taught > 0.7
    assert abs(noise) < 0.5
    assert [each.name for each in found.plain] == ["1/n each", "1 each", "the base alone"]
    assert [each.weights for each in found.plain] == [((0.5,), (0.5,)), ((1.0,), (1.0,)), ((0.0,), (0.0,))]
    assert found.is_better
    assert found.learned.loss < min(each.loss for each in found.plain)
    assert told.count("metric") == SMALL.steps
    again = learn_weights(dataclasses.replace(SMALL, per="adapter"), pair, work)
    assert again == found


def test_weights_by_layer_make_a_recipe_that_is_worth_what_was_reported(
    pair: dict[str, Path], work: TrainWork, tmp_path: Path
) -> None:
    from medley.jobs.run_learn_weights import with_weights
    from merging import merge, parse_recipe, recipe_from_weights

    found = learn_weights(SMALL, pair, work)
    assert [len(values) for values in found.learned.weights] == [2, 2]
    folders = [str(folder) for folder in pair.values()]
    recipe = with_weights(recipe_from_weights("task_arithmetic", [(each, 1.0) for each in folders]), folders, found)
    assert parse_recipe(recipe.to_yaml()) == recipe
    merge(recipe, tmp_path / "merged")
    # the merged adapter at weight 1 is what the learned weights were
    alone = learn_weights(dataclasses.replace(SMALL, steps=1), {"merged": tmp_path / "merged"}, work)
    assert alone.plain[1].name == "1 each"
    assert alone.plain[1].loss == pytest.approx(found.learned.loss, abs=3e-3)  # the base is bf16


def test_a_search_begins_with_the_plain_weights_and_ends_no_worse(pair: dict[str, Path], work: TrainWork) -> None:
    options = dataclasses.replace(SMALL, how="search", trials=12, seed=3)
    losses: list[float] = []

    def listen(kind: str, **fields: object) -> None:
        if kind == "metric":
            losses.append(float(str(fields["loss"])))

    found = learn_weights(options, pair, dataclasses.replace(work, emit=listen))
    assert len(losses) == 12
    assert min(losses) <= min(losses[:3])
    weights = [values[0] for values in found.learned.weights]
    assert all(options.low <= each <= options.high for each in weights)
    assert weights[0] > weights[1]
    assert learn_weights(options, pair, work) == found


def test_a_search_for_a_reward_reports_it_beside_the_loss(pair: dict[str, Path], work: TrainWork) -> None:
    options = dataclasses.replace(SMALL, how="search", trials=3, metric="matches:Ahoy", new_tokens=8, max_rows=2)
    found = learn_weights(options, pair, work)
    assert found.metric == "matches:Ahoy"
    assert all(each.score is not None and 0 <= each.score <= 1 for each in (found.learned, *found.plain))


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(ProblemsError) as caught:
        from_mapping(WeightOptions, {"how": "search", "per": "layer", "metric": "kindness", "low": 2.0})
    assert caught.value.problems == (
        "A search over every layer has too many numbers to try out. Use per=adapter, or how=gradient.",
        "low must be below high, got 2 and 1.5.",
        "metric must be loss or one of sentiment, brevity, length, no-repetition, json, sentence, matches, got "
        "'kindness'.",
    )
    with pytest.raises(ProblemsError, match="metric matches needs a regular expression, as in matches:\\^Yes"):
        from_mapping(WeightOptions, {"how": "search", "metric": "matches"})


def test_learned_weights_that_are_worth_nothing_are_not_called_better() -> None:
    plain = (Weighting("1/n each", ((0.5,), (0.5,)), 1.0, 0.4), Weighting("1 each", ((1.0,), (1.0,)), 2.0, 0.6))
    equal = LearnedWeights(Weighting("learned", ((0.3,), (0.7,)), 0.5, 0.6), plain, "brevity")
    assert equal.best_plain.name == "1 each"  # by the reward, not by the loss
    assert not equal.is_better


@pytest.mark.parametrize(
    ("module", "layer"), [("model.layers.11.mlp.up_proj", 11), ("lm_head", 0), ("transformer.h.3.attn.c_attn", 3)]
)
def test_the_layer_is_read_from_the_name(module: str, layer: int) -> None:
    assert layer_of(module) == layer
