import dataclasses
from pathlib import Path

import pytest

from medley.errors import NotFoundError, ParameterError, ProblemsError, RecipeError
from merging import METHODS, parse_recipe, recipe_from_weights
from merging.recipes.recipe import RankRule, parse_rank
from merging.recipes.yaml_text import load_yaml

TIES = """
merge_method: ties
base_model: org/base
models:
  - model: adapters/pirate
    parameters: {weight: 0.6, density: [0.2, 0.8]}
  - model: org/base+adapters/sql
    parameters:
      weight:
        - filter: mlp
          value: 0.5
        - value: 1
parameters: {normalize: false, lambda: 1.1}
dtype: float32
out_dtype: bfloat16
space: delta
rank: energy:0.99
seed: 7
variant: mergekit
output: adapter
"""


def problems_of(recipe: object) -> list[str]:
    with pytest.raises(ProblemsError) as caught:
        parse_recipe(recipe)
    return list(caught.value.problems)


def one_model(**changes: object) -> dict[str, object]:
    return {"merge_method": "ties", "models": [{"model": "a", "parameters": {"weight": 1}}], **changes}


def doubling(times: int, pair: str) -> str:
    """YAML in which each line stands twice for the line before it."""
    return "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {pair.format(f'*a{i - 1}')}\n" for i in range(1, times + 1))


def one_slice(layers: list[int], **parameters: float) -> dict[str, object]:
    source = {"model": "a", "layer_range": layers, "parameters": {"weight": 1}}
    return {"sources": [source], "parameters": parameters}


def test_every_key_arrives() -> None:
    recipe = parse_recipe(TIES)
    assert recipe.models == ("adapters/pirate", "adapters/sql")
    assert [source.base for source in recipe.slices[0].sources] == [None, "org/base"]
    assert recipe.parameters == {"normalize": False, "lambda": 1.1}
    assert (recipe.space, recipe.rank, recipe.seed) == ("delta", RankRule("energy", 0.99), 7)
    assert (recipe.written_dtype, recipe.base_model) == ("bfloat16", "org/base")


def test_yaml_out_is_yaml_in() -> None:
    recipe = parse_recipe(TIES)
    assert parse_recipe(recipe.to_yaml()) == recipe
    sliced = parse_recipe(
        "merge_method: slerp\nslices:\n- sources:\n  - {model: a, layer_range: [0, 4]}\n"
        "  - {model: b, layer_range: [0, 4]}\n  parameters: {t: [0, 0.5]}\nbase_model: b\n"
    )
    assert parse_recipe(sliced.to_yaml()) == sliced


def test_a_path_a_mapping_and_text_are_the_same_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(TIES, encoding="utf-8")
    assert parse_recipe(path) == parse_recipe(str(path)) == parse_recipe(TIES)


def test_a_missing_file_says_so() -> None:
    with pytest.raises(NotFoundError, match=r"^There is no recipe at 'nowhere\.yaml'\.$"):
        parse_recipe("nowhere.yaml")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"merge_method": "tie"}, "There is no merge method 'tie'. Did you mean 'ties'?"),
        (
            {"merge_method": ["ties"]},
            f"merge_method must be one word, got ['ties']. Known: {', '.join(METHODS)}.",
        ),
        ({"merge_method": None}, f"merge_method is missing. Known: {', '.join(METHODS)}."),
        (
            {"merge_method": "passthrough"},
            f"merge_method passthrough works on full models only. For adapters there are {', '.join(METHODS)}.",
        ),
        ({"spaces": "core"}, "There is no option 'spaces'. Did you mean 'space'?"),
        ({"space": "kore"}, "space must be one of core, delta, knots, compressed, factor, got kore."),
        (
            {"space": "compressed"},
            "space compressed needs rank, a whole number: how many axes the adapters share. Got auto.",
        ),
        (
            {"space": "compressed", "rank": "energy:0.9"},
            "space compressed needs rank, a whole number: how many axes the adapters share. Got energy:0.9.",
        ),
        (
            {"space": "factor"},
            "space factor is a method of its own, because it is approximate: merge_method: factor.",
        ),
        (
            {"rank": "most"},
            "rank must be auto, exact, a whole number of at least 1, or energy:x with x in (0, 1], got most.",
        ),
        (
            {"rank": "energy:1.5"},
            "rank must be auto, exact, a whole number of at least 1, or energy:x with x in (0, 1], got energy:1.5.",
        ),
        (
            {"rank": 0},
            "rank must be auto, exact, a whole number of at least 1, or energy:x with x in (0, 1], got 0.",
        ),
        (
            {"rank": "exact", "space": "delta"},
            "rank exact would be a full-rank adapter in space delta. Use auto, a number or energy:0.99.",
        ),
        ({"seed": -1}, "seed must be a whole number of at least 0 and below 2**63, got -1."),
        ({"dtype": "int8"}, "dtype must be one of float32, float16, bfloat16, got int8."),
        ({"output": "lora"}, "output must be one of adapter, model, got lora."),
        (
            {"tokenizer_source": "union"},
            "An adapter leaves its base's tokenizer as it is, so 'tokenizer_source' makes sense for full models only. "
            "Remove it, or set output: model.",
        ),
        (
            {"chat_template": "chatml"},
            "An adapter leaves its base's chat template as it is, so 'chat_template' makes sense for full models only. "
            "Remove it, or set output: model.",
        ),
        (
            {"models": None, "modules": {"vision": {}, "text": {}}},
            "modules must be a mapping with one module: which part of a model several modules are, only a full model "
            "says. Use models; a filter on the tensors' names gives a part its own parameters.",
        ),
        (
            {"models": [{"model": "a+b+c", "parameters": {"weight": 1}}]},
            "models[0]: model has more than one + in 'a+b+c'. Write it as {model: {path: …}, lora: {path: …}}.",
        ),
        (
            {"models": [{"model": "~nobody-here/a", "parameters": {"weight": 1}}]},
            "models[0]: model is in the home folder of a user who is not on this machine, got '~nobody-here/a'.",
        ),
        (
            {"models": [{"model": {"model": {"path": ""}}, "parameters": {"weight": 1}}]},
            "models[0]: model needs a path, and may have a revision, got {'path': ''}.",
        ),
        ({"base_model": "org/base+a"}, "base_model must be a model without an adapter, got org/base+a."),
        ({"models": []}, "Exactly one of 'models' and 'slices' must be present."),
        ({"models": [{"model": "a"}]}, "'a' has no weight, which ties needs."),
        (
            {"models": [{"model": "a", "parameters": {"weight": 1, "densty": 0.5}}]},
            "'a': ties has no parameter 'densty'. Did you mean 'density'?",
        ),
        (
            {"models": [{"model": "a", "paramters": {}, "parameters": {"weight": 1}}]},
            "models[0]: There is no option 'paramters'. Did you mean 'parameters'?",
        ),
        ({"parameters": {"density": 0}}, "density must be in (0, 1], got 0.0."),
        ({"parameters": {"density": 1.5}}, "density must be in (0, 1], got 1.5."),
        ({"parameters": {"density": [0.5, 1.5]}}, "density must be in (0, 1], got 1.5."),
        ({"parameters": {"density": [{"filter": "mlp", "value": 2}]}}, "density must be in (0, 1], got 2.0."),
        ({"parameters": {"lambda": float("nan")}}, "lambda must be finite, got nan."),
        ({"parameters": {"lambda": -(10**400)}}, "lambda must be finite, got -inf."),
        ({"parameters": {"normalize": "yes"}}, "normalize must be true or false, got 'yes'."),
        (
            {"models": [{"model": "a", "parameters": {"weight": 1, "lambda": 2}}]},
            "'a': lambda holds for the whole merge. Move it to the recipe's own parameters.",
        ),
        (
            {"variant": "paper", "parameters": {"density": [0.2, 0.4]}},
            "ties in variant paper trims whole adapters, so density must be one number per adapter.",
        ),
        (
            {"variant": "paper", "models": None, "slices": [one_slice([0, 1], density=0.2), one_slice([1, 2])]},
            "ties in variant paper trims whole adapters, so density must be one number per adapter.",
        ),
        ({"base_model": 5}, "base_model must be a name or a path, got 5."),
    ],
)
def test_one_mistake_one_sentence(changes: dict[str, object], problem: str) -> None:
    assert problems_of(one_model(**changes)) == [problem]


def test_all_mistakes_are_said_at_once() -> None:
    recipe = {
        "merge_method": "ties",
        "models": [{"model": "a", "parameters": {"density": 1.5}}, {"model": "b", "parameters": {"weight": "much"}}],
        "sead": 1,
        "rank": -3,
    }
    with pytest.raises(ProblemsError) as caught:
        parse_recipe(recipe)
    assert str(caught.value).splitlines() == [
        "5 problems in the recipe:",
        "  There is no option 'sead'. Did you mean 'seed'?",
        "  rank must be auto, exact, a whole number of at least 1, or energy:x with x in (0, 1], got -3.",
        "  'a': density must be in (0, 1], got 1.5.",
        "  'b': weight must be a number, got 'much'.",
        "  'a' has no weight, which ties needs.",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b\n---\nc: d\n", "has 2 documents, and here only one is expected."),
        ("- a\n- b\n", "it must be a mapping with 'merge_method' and 'models'"),
        ("\n", "it must be a mapping"),
        ("a: [1\n", "is not valid YAML: line 2"),
        ("a: 1\na: 2\n", "is not valid YAML: line 1, the key 'a' stands there twice."),
        ("a: !!python/object/apply:os.system ['true']\n", "is not valid YAML: line 1"),
        ("a: " + "x" * 1_000_001 + "\n", "has 1,000,005 characters; a recipe has at most 1,000,000."),
        ("[" * 5000 + "\n", "is not valid YAML"),
        ("a: &a [*a]\n", "is not valid YAML: line 1, an alias stands inside of what it stands for."),
        (doubling(16, "[{0}, {0}]"), "line 15, this has 65,535 values, aliases counted; a recipe has at most 50,000."),
        (doubling(16, "{{<<: [{0}, {0}]}}"), "values, aliases counted; a recipe has at most 50,000."),
    ],
)
def test_text_that_is_no_recipe(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=r"^The recipe ") as caught:
        parse_recipe(text)
    assert message in str(caught.value)


def test_a_mapping_may_take_over_the_keys_of_another() -> None:
    text = "x: &x {weight: 2, density: 0.5}\n" + "y: {<<: *x, weight: 1}\n"
    assert load_yaml(text, "It")[0]["y"] == {"weight": 1, "density": 0.5}


def test_slerp_counts_its_adapters() -> None:
    recipe = {"merge_method": "slerp", "parameters": {"t": 0.5}}
    assert problems_of({**recipe, "models": [{"model": name} for name in "abc"]}) == [
        "slerp merges exactly 2 adapters, got 3."
    ]
    assert problems_of({"merge_method": "slerp", "models": [{"model": "a"}, {"model": "b"}]}) == [
        "slerp needs the parameter t. 0 is the first adapter, 1 the second."
    ]


def test_slerp_takes_its_base_for_the_other_adapter_when_only_one_is_listed() -> None:
    recipe = parse_recipe(
        {"merge_method": "slerp", "models": [{"model": "b"}], "base_model": "a", "parameters": {"t": 0.5}}
    )
    assert recipe.models == ("a", "b")


def test_the_base_among_the_models_is_no_input() -> None:
    models = [{"model": "org/base"}, {"model": "a", "parameters": {"weight": 1}}]
    assert parse_recipe({"merge_method": "ties", "models": models, "base_model": "org/base"}).models == ("a",)


def test_slices_that_move_layers_are_refused() -> None:
    def sliced(*ranges: list[int]) -> dict[str, object]:
        sources = [{"sources": [{"model": "a", "layer_range": each, "parameters": {"weight": 1}}]} for each in ranges]
        return {"merge_method": "linear", "slices": sources}

    assert len(parse_recipe(sliced([0, 4], [4, 8])).slices) == 2
    expected = (
        "slices[1] moves or repeats layers, which only full models can. For adapters each slice must have one "
        "layer_range for all its sources, the first from 0, each next from where the last one ended."
    )
    assert problems_of(sliced([0, 4], [2, 8])) == [expected]


def test_rank_rules() -> None:
    given = ["auto", "exact", 16, "16", "energy:0.99", "energy:0.99999999", "energy:1e-05", "energy:1"]
    assert [parse_rank(value).text for value in given] == [int(each) if each == "16" else each for each in given]


def test_a_rank_that_is_not_taken_is_not_offered() -> None:
    for value in ("auto", "most"):
        with pytest.raises(ParameterError) as refused:
            parse_rank(value, ("at_most", "energy"))
        taken = "a whole number of at least 1 or energy:x with x in (0, 1]"
        assert str(refused.value) == f"rank must be {taken}, got {value}."


def test_models_can_be_renamed_without_touching_the_base() -> None:
    recipe = parse_recipe({**one_model(), "base_model": "org/base"}).with_models(str.upper)
    assert (recipe.models, recipe.base_model) == (("A",), "org/base")
    slerp = recipe_from_weights("slerp", [("a", None), ("b", None)])
    renamed = dataclasses.replace(slerp, base_model="b").with_models(str.upper)
    assert (renamed.models, renamed.base_model) == (("A", "B"), "B")
