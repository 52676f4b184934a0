"""Which recipe is of adapters and which of full models, and several documents in one recipe."""

from pathlib import Path

import pytest

from medley.errors import NotFoundError, ProblemsError, RecipeError
from merging import parse_documents
from merging.full_models.methods import FULL_METHODS
from merging.full_models.recipe import FullRecipe
from merging.recipes.documents import documents_to_yaml, folder_kind
from merging.recipes.recipe import Recipe
from merging.recipes.reference import Reference, parse_reference

PUBLISHED = sorted((Path(__file__).parents[1] / "published").glob("*.yaml"))
OF_ADAPTERS = {"task-arithmetic-loras", "linear-loras"}


def kind_of(name: str) -> str | None:
    """What the names in the corpus are."""
    return {"org/lora-a": "adapter", "org/lora-b": "adapter", "a": "adapter", "b": "adapter"}.get(
        name, "model" if name.startswith("org/") else None
    )


def problems_of(recipe: object) -> list[str]:
    with pytest.raises(ProblemsError) as caught:
        parse_documents(recipe, kind_of)
    return list(caught.value.problems)


def full(**changes: object) -> dict[str, object]:
    models = [{"model": "org/x", "parameters": {"weight": 1}}, {"model": "org/y", "parameters": {"weight": 1}}]
    return {"merge_method": "ties", "base_model": "org/base", "models": models, **changes}


def adapters(**changes: object) -> dict[str, object]:
    models = [{"model": name, "parameters": {"weight": 1}} for name in "ab"]
    return {"merge_method": "linear", "models": models, **changes}


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_shapes_parse_and_are_written_back(path: Path) -> None:
    documents = parse_documents(path, kind_of)
    assert documents[-1].makes == ("adapter" if path.stem in OF_ADAPTERS else "model")
    assert parse_documents(documents_to_yaml(documents), kind_of) == documents


def test_the_table_is_mergekits_own() -> None:
    """The same names, parameters, defaults, places and counts as the library that runs them."""
    from mergekit.merge_methods.base import MISSING, BasePolicy, ParameterScope
    from mergekit.merge_methods.registry import registered_methods

    theirs = {method.spec.name: method.spec for method in registered_methods()}
    assert set(FULL_METHODS) == set(theirs)
    for name, row in FULL_METHODS.items():
        spec, contract = theirs[name], theirs[name].contract
        assert {each.name for each in row.parameters} == {each.name for each in spec.parameters}
        for parameter in spec.parameters:
            ours = row.parameter(parameter.name)
            assert ours.is_required == (parameter.default is MISSING)
            assert ours.default == (None if parameter.default is MISSING else parameter.default)
            assert (ours.scope == "global") == (parameter.scope == ParameterScope.SHARED)
            assert parameter.scope != ParameterScope.INPUT or row.is_base_weighted
        assert row.base == contract.base.value
        assert contract.base != BasePolicy.FORBIDDEN
        assert (row.min_models, row.max_models) == (contract.min_inputs, contract.max_inputs)
        assert (row.min_others, row.max_others) == (contract.min_non_base or 0, contract.max_non_base)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("org/m", Reference("org/m")),
        (Path("org/m"), Reference("org/m")),
        ("org/m@v1+org/l@v2", Reference("org/m@v1", "org/l@v2")),
        ({"model": {"path": "org/m", "revision": "v1"}}, Reference("org/m@v1")),
        ({"model": "org/m", "lora": {"path": "a+b"}}, Reference("org/m", "a+b")),
        ({"lora": {"path": "org/l"}}, Reference("org/l")),
        ({"model": "org/m", "override_architecture": "X"}, Reference("org/m", None, "X")),
    ],
)
def test_both_forms_of_a_reference(raw: object, expected: Reference) -> None:
    assert parse_reference(raw) == expected
    assert parse_reference(expected.to_value()) == expected


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"merge_method": "tie"}, "There is no merge method 'tie' for full models. Did you mean 'ties'?"),
        ({"merge_method": ["ties"]}, "There is no merge method '['ties']' for full models. Did you mean 'ties'?"),
        ({"space": "core"}, "space is for adapters, and this recipe merges full models. Remove it."),
        ({"dtypes": "float32"}, "There is no option 'dtypes'. Did you mean 'dtype'?"),
        ({"base_model": None}, "ties needs base_model: the model that the others are compared with."),
        ({"parameters": {"densty": 1}}, "ties has no parameter 'densty'. Did you mean 'density'?"),
        ({"parameters": {"density": 2}}, "density must be in (0, 1], got 2.0."),
        ({"merge_method": "slerp"}, "'org/x': slerp has no parameter 'weight'. Known: t."),
        ({"merge_method": "model_stock", "models": [{"model": "org/x"}]},
         "model_stock merges at least 3 models, but models has 2."),
        ({"merge_method": "nearswap", "models": [{"model": "org/x"}]},
         "nearswap needs the parameter t. Entries further apart are mixed less."),
        ({"merge_method": "arcee_fusion", "models": [{"model": "org/x"}], "parameters": {"t": 1}},
         "arcee_fusion has no parameter 't'. It has none."),
        ({"models": [{"model": "org/x", "parameters": {"weight": 1, "lambda": 1}}]},
         "'org/x': lambda holds for the whole merge. Move it to the recipe's own parameters."),
        ({"models": [{"model": "org/x"}]}, "'org/x' has no weight, which ties needs."),
        (
            {"merge_method": "linear"},
            "'org/base' is merged too, because it is the base_model, and has no weight. List it among the models; "
            "weight: 0 leaves it out.",
        ),
        ({"merge_method": "linear", "models": [{"model": "org/base"}, {"model": "org/x"}], "parameters": {"weight": 0}},
         "The weights sum to 0 and linear divides by their sum. Change a weight or set normalize: false."),
        ({"merge_method": "multislerp", "models": [{"model": "org/x", "parameters": {"weight": 0}}]},
         "The weights sum to 0 and multislerp divides by their sum. Change a weight or set normalize_weights: false."),
        ({"merge_method": "della", "parameters": {"density": 0.1}},
         "density - epsilon and density + epsilon must lie between 0 and 1, got density 0.1 and epsilon 0.15. "
         "Lower epsilon, or set density to 1, which drops nothing."),
        ({"models": [{"model": "org/x", "parameters": {"weight": 1}}] * 2}, "models names 'org/x' twice."),
        ({"tokenizer": {"sauce": "base"}}, "tokenizer: There is no option 'sauce'. Did you mean 'source'?"),
        ({"tokenizer": {"source": "base"}, "tokenizer_source": "base"},
         "tokenizer_source is the old form of tokenizer: {source: …}. Keep one of them."),
        ({"chat_template": "chat"}, "chat_template must be one of auto, alpaca, chatml, exaone, llama3, mistral, "
         "or a Jinja template, got 'chat'."),
        ({"output": "adapter"}, "output is adapter, but 'org/x' is a full model. Remove output; medley extract makes "
         "an adapter of a model."),
        ({"models": [{"model": "org/x+a+b", "parameters": {"weight": 1}}, {"model": "org/y"}],
          "parameters": {"weight": 1}},
         "models[0]: model has more than one + in 'org/x+a+b'. Write it as {model: {path: …}, lora: {path: …}}."),
    ],
)  # fmt: skip
def test_one_mistake_one_sentence(changes: dict[str, object], problem: str) -> None:
    assert problem in problems_of(full(**changes))


def test_a_slice_names_the_base_too() -> None:
    sources = [{"model": "org/x", "layer_range": [0, 2], "parameters": {"weight": 1}}]
    expected = "slices[0]: its sources must name the base model 'org/base' too, with its layer_range."
    assert problems_of(full(models=None, slices=[{"sources": sources}])) == [expected]


def test_what_decides_between_adapters_and_models() -> None:
    def makes(recipe: object) -> tuple[type, str]:
        document = parse_documents(recipe, kind_of)[-1]
        return type(document.recipe), document.makes

    assert makes(adapters()) == (Recipe, "adapter")
    assert makes(adapters(base_model="org/base")) == (Recipe, "adapter")
    assert makes(adapters(output="model", base_model="org/base")) == (Recipe, "model")
    assert makes(adapters(models=[{"model": "org/x", "parameters": {"weight": 1}}])) == (FullRecipe, "model")
    slerp = {"merge_method": "slerp", "parameters": {"t": 0.5}}
    assert makes({**slerp, "models": [{"model": "a"}, {"model": "b"}], "base_model": "org/base"}) == (Recipe, "adapter")
    assert makes({**slerp, "models": [{"model": "org/x"}], "base_model": "org/y"}) == (FullRecipe, "model")


def test_adapters_go_on_their_base_where_only_full_models_will_do() -> None:
    recipe = {"merge_method": "arcee_fusion", "models": [{"model": "a"}], "base_model": "org/base"}
    expected = "merge_method arcee_fusion works on full models only."
    assert [each[: len(expected)] for each in problems_of(recipe)] == [expected]
    parsed = parse_documents({**recipe, "output": "model"}, kind_of)[0].recipe
    assert parsed.references == (Reference("org/base"), Reference("org/base", "a"))
    without = problems_of({**adapters(output="model"), "chat_template": "chatml"})
    assert without == [f"'{name}' is an adapter. Write base+{name}, or give base_model." for name in "ab"]


def test_documents_are_merged_after_those_they_use() -> None:
    used = {"model": "first", "parameters": {"weight": 1}}
    last = full(models=[used, {"model": "second", "parameters": {"weight": 1}}])
    documents = parse_documents([{**full(), "name": "second", "models": [used]}, {**full(), "name": "first"}, last],
                                kind_of)  # fmt: skip
    assert [(each.name, each.uses) for each in documents] == [
        ("first", ()),
        ("second", ("first",)),
        (None, ("first", "second")),
    ]
    assert documents[-1].inputs == ("org/base",)


def test_a_document_of_adapters_can_be_an_adapter_of_a_model() -> None:
    blend = {**adapters(), "name": "blend"}
    models = [{"model": name, "parameters": {"weight": 1}} for name in ("org/x", "org/base+blend")]
    documents = parse_documents([blend, full(models=models)], kind_of)
    assert documents[-1].recipe.references[-1] == Reference("org/base", "blend")
    assert [each.makes for each in documents] == ["adapter", "model"]


def test_documents_that_cannot_be_ordered() -> None:
    def using(name: str | None, *models: str) -> dict[str, object]:
        return {**full(models=[{"model": each, "parameters": {"weight": 1}} for each in models]), "name": name}

    assert problems_of([using("p", "q"), using("q", "p"), using(None, "p")]) == [
        "The documents use each other in a circle: 'p' -> 'q' -> 'p'."
    ]
    assert problems_of([using("p", "org/x"), using(None, "org/y")]) == [
        "No other document uses the result of 'p'. Remove it, or move it to the end if it is the result."
    ]
    assert problems_of([using(None, "org/x"), using(None, "org/y")])[0] == (
        "Document 1 has no name, so nothing can use its result. Add name: …"
    )
    assert problems_of([using("p", "org/x"), using("p", "org/y"), using(None, "p")])[0] == (
        "Two documents have the name 'p'."
    )
    assert problems_of([using("../p", "org/x"), using(None, "org/y")])[0] == (
        "name must be letters, digits, dots, dashes and underscores, got '../p'."
    )


@pytest.mark.parametrize("value", [None, 3, [], [1, 2]])
def test_what_is_no_recipe_at_all_is_told(value: object) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_documents(value)
    assert str(caught.value) == f"A recipe is a mapping, a list of them, a path, or YAML text, got {value!r}."


def test_a_name_that_no_file_can_have_is_a_missing_file() -> None:
    with pytest.raises(NotFoundError, match=r"^There is no recipe at 'x{200}'\.$"):
        parse_documents("x" * 5000)
    assert folder_kind("x" * 5000) is None
