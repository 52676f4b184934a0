"""The merge form's handlers: controls to a recipe and back, preflight, and the recipe to take away."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import gradio as gr

from medley.errors import ParameterError, ProblemsError, RecipeError
from medley.ui import markup
from medley.ui.controls import to_text, to_value
from medley.ui.merge_guide import DEFAULT_SPACE, method_html, space_choices, space_for
from medley.ui.numbers import count_text, size_text
from medley.ui.workspace import Workspace, attempt, query_value, shown
from merging import METHODS, Parameter
from merging.method import SPACES

if TYPE_CHECKING:
    from medley.jobs.build_merge import MergePlan
    from merging import Recipe

MAX_INPUTS = 8
KEYS = {"rank": "auto", "space": DEFAULT_SPACE, "variant": "mergekit", "seed": 0}  # with their defaults
ALONE = "One adapter alone is only weighed or thinned out. Choose another to blend them."


def parameters_of(method: str) -> list[Parameter]:
    """A method's own parameters without the weights, which have their sliders."""
    return [each for each in METHODS[method].parameters if each.name != "weight"]


def adapter_choices(workspace: Workspace, chosen: Sequence[str]) -> list[str]:
    """The adapters' names, and what is chosen already (it may be an older version)."""
    names = workspace.names("adapter")
    return [*names, *(each for each in chosen if each not in names)]


def default_weight(method: str, count: int) -> float:
    """A neutral start: shares that sum to 1 for an average, the adapters as they are for a sum."""
    return round(1 / count, 2) if method == "linear" and count else 1.0


def form_values(
    adapters: list[str], weights: Sequence[float], method: str, parameters: dict[str, Any], keys: dict[str, Any]
) -> list[Any]:
    """Values in the order of the form's inputs; what is not given stands at its default."""
    filled = [*weights, *[1.0] * MAX_INPUTS][:MAX_INPUTS]
    own = [
        to_text(each, parameters.get(each.name, each.default) if name == method else each.default)
        for name in METHODS
        for each in parameters_of(name)
    ]
    own = [0.5 if value is None else value for value in own]  # a required parameter has no default: halfway
    return [adapters, *filled, method, *own, str(keys.get("rank", "auto")), keys.get("space", DEFAULT_SPACE),
            keys.get("variant", "mergekit"), keys.get("seed", 0)]  # fmt: skip


def recipe_notice(workspace: Workspace, request: gr.Request | None) -> str:
    """Why the form does not show the recipe that the address asks for, as HTML; empty where it does."""
    reference = query_value(request, "recipe")
    return attempt(lambda: values_of_recipe(workspace, reference))[1] if reference else ""


def values_of_recipe(workspace: Workspace, reference: str) -> list[Any]:
    """The form that made a merged version.

    Raises:
        NotFoundError, InvalidNameError: there is no such adapter, or an input of it is gone.
        RecipeError: it was made in another way than this form can show.
    """
    from merging import parse_recipe

    version = workspace.version(reference, "adapter")
    if not version.recipe:
        raise RecipeError(f"Nobody wrote down how {version.label} was made, so there is no recipe to show.")
    try:
        recipe = parse_recipe(version.recipe)
    except (RecipeError, ProblemsError) as error:
        raise RecipeError(
            f"{version.label} was not made by a single merge of adapters, so this form cannot show its recipe. "
            "The Registry page does."
        ) from error
    sources = [source for part in recipe.slices for source in part.sources]
    if _says_more(recipe) or len(sources) > MAX_INPUTS:
        raise RecipeError(
            f"The recipe of {version.label} says more than this form can show, for example weights by layer. "
            "The Registry page shows it whole."
        )
    names = [workspace.version(source.model).label for source in sources]
    weights = [float(source.parameters.get("weight", 1.0)) for source in sources]
    keys = {"rank": recipe.rank.text, "space": recipe.space, "variant": recipe.variant, "seed": recipe.seed}
    return form_values(names, weights, recipe.merge_method, dict(recipe.parameters), keys)


def _says_more(recipe: "Recipe") -> bool:
    """Whether something of a recipe would be lost in the form: values by layer or adapter, slices, a dtype."""
    sources = [source for part in recipe.slices for source in part.sources]
    values = [*recipe.parameters.values(), *(value for source in sources for value in source.parameters.values())]
    return (
        len(recipe.slices) > 1
        or any(part.parameters for part in recipe.slices)
        or any(source.layer_range or recipe.is_base(source.model) or set(source.parameters) - {"weight"}
               for source in sources)
        or any(isinstance(value, (list, Mapping)) for value in values)
        or recipe.module is not None
        or recipe.written_dtype is not None
        or recipe.output != "adapter"
    )  # fmt: skip


def sliders(adapters: Sequence[str], weights: Sequence[float] | None, *, is_weighted: bool = True) -> list[Any]:
    """A slider for each chosen adapter, named after it; None leaves the weights where they are."""
    shown = []
    for i in range(MAX_INPUTS):
        is_used = i < len(adapters)
        value = {"value": weights[i]} if weights is not None and i < len(weights) else {}
        label = adapters[i] if is_used else f"Weight {i + 1}"
        shown.append(gr.Slider(label=label, visible=is_used and is_weighted, **value))
    return shown


def show_method(adapters: list[str], method: str, space: str, weights: Sequence[float] | None = None) -> list[Any]:
    """When to use the method, and only the controls that it listens to."""
    row, spaces = METHODS[method], space_choices(method)
    groups = [gr.Column(visible=name == method and bool(parameters_of(name))) for name in METHODS]
    where = gr.Dropdown(spaces, value=space_for(method, space), visible=len(spaces) > 1)
    return [method_html(method), *groups, where,
            gr.Dropdown(visible=len(row.variants) > 1), gr.Number(visible=row.is_random),
            *sliders(adapters or [], weights, is_weighted=row.is_weighted)]  # fmt: skip


def choose_anew(adapters: list[str], method: str, space: str) -> list[Any]:
    """After another choice of adapters or method: its controls, and the weights at a neutral start."""
    count = len(adapters or [])
    return show_method(adapters, method, space, [default_weight(method, count)] * count)


def read(values: Sequence[Any]) -> "Recipe":
    """The recipe that the controls describe.

    Raises:
        ParameterError, ProblemsError: no adapters, or values out of range.
    """
    from merging import recipe_from_weights

    adapters, weights, method = values[0] or [], values[1 : 1 + MAX_INPUTS], values[1 + MAX_INPUTS]
    rest = list(values[2 + MAX_INPUTS :])
    if not adapters:
        raise ParameterError("Choose the adapters to merge.")
    parameters, problems = {}, []
    for name in METHODS:
        for each in parameters_of(name):
            shown_value = rest.pop(0)
            if name != method:
                continue
            try:
                parameters[each.name] = to_value(each, shown_value)
            except ParameterError as error:
                problems.append(str(error))
    if problems:
        raise ProblemsError("the settings", problems)
    rank, space, variant, seed = rest
    row = METHODS[method]
    keys: dict[str, Any] = {} if (rank or "auto").strip() == "auto" else {"rank": rank.strip()}
    if space in row.spaces or space not in SPACES:  # another method's space is left behind; a typed word is refused
        keys["space"] = space
    if variant in row.variants and variant != "mergekit":
        keys["variant"] = variant
    if seed:
        keys["seed"] = int(seed)
    models = [(ref, float(weight) if row.is_weighted else None) for ref, weight in zip(adapters, weights, strict=False)]
    return recipe_from_weights(method, models, parameters, **keys)


def plan(workspace: Workspace, recipe: "Recipe") -> "MergePlan":
    """Preflight of a recipe whose models are registry names; a path that somebody sends is never opened."""
    from medley.jobs.build_merge import plan_merge

    for model in recipe.models:
        workspace.version(model, "adapter")
    return plan_merge(workspace.registry, recipe, may_open_paths=False)


def look(workspace: Workspace, *values: Any) -> list[str]:
    """Preflight, YAML, and adapters, method and settings for the address. Reads headers only, so it follows sliders."""
    adapters, method = values[0] or [], values[1 + MAX_INPUTS]
    if not adapters:
        has_any = bool(workspace.names("adapter"))
        text = "Choose two or more adapters on the left." if has_any else "Train or import two adapters first."
        next_html = "" if has_any else markup.button_link("train", "Train an adapter")
        return [markup.section("Preflight", markup.empty("Nothing to merge yet", text, next_html)), "", "", "", ""]
    recipe, problem = attempt(lambda: read(values))
    if recipe is None:
        return [markup.section("Preflight", problem), "", "", method, ""]
    findings = shown(lambda: findings_html(plan(workspace, recipe)))
    return [
        markup.section("Preflight", findings),
        recipe_html(recipe.to_yaml()),
        blend_text(adapters, values[1 : 1 + MAX_INPUTS]),
        method,
        settings_text(recipe),
    ]


def recipe_html(yaml: str) -> str:
    """The recipe, to be read, copied and saved; the link carries the text itself, so no file lies on the server."""
    target = markup.escape("data:application/yaml;charset=utf-8," + quote(yaml))
    save = f'<a class="m-button m-small" download="recipe.yaml" href="{target}">Download</a>'
    return markup.section("The same as a recipe", markup.code_block(yaml), save)


def blend_text(adapters: Sequence[str], weights: Sequence[float]) -> str:
    """The adapters with their weights as the address has them: "pirate=0.6+lists=0.4"."""
    return "+".join(f"{name}={weight:g}" for name, weight in zip(adapters, weights, strict=False))


def settings_text(recipe: "Recipe") -> str:
    """The settings that are not at their defaults: "density:0.5,normalize:false,space:delta,rank:8"."""
    own = {each.name: recipe.parameters.get(each.name, each.default) for each in parameters_of(recipe.merge_method)}
    turned = {
        each.name: own[each.name] for each in parameters_of(recipe.merge_method) if own[each.name] != each.default
    }
    keys = {"rank": recipe.rank.text, "space": recipe.named_space or DEFAULT_SPACE, "variant": recipe.variant,
            "seed": recipe.seed}  # fmt: skip
    turned |= {name: keys[name] for name, default in KEYS.items() if keys[name] != default}
    return ",".join(f"{name}:{str(value).lower()}" for name, value in turned.items())


def findings_html(found: "MergePlan") -> str:
    """What stands against the merge, or what it would make."""
    findings = found.findings
    if findings.problems:
        return "".join(markup.notice("bad", problem) for problem in findings.problems)
    ranks = list(findings.rank_plan.values())
    adapters = list(findings.adapters.values())
    pairs = [
        ("Verdict", markup.chip("warning" if findings.warnings else "ok")),
        ("Base", markup.escape(adapters[0].config.base_model or "not named")),
        ("Modules", count_text(len(ranks))),
        ("Rank", f"at most {max(ranks)}" if ranks else "–"),
        ("Size", f"at most {size_text(findings.estimated_bytes)}, {markup.escape(findings.dtype)}"),
    ]
    alone = markup.notice("plain", ALONE) if len(adapters) == 1 else ""
    return markup.facts(pairs) + alone + "".join(markup.notice("warn", warning) for warning in findings.warnings)
