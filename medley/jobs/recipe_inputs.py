"""The inputs of a merge by name: adapters and full models, found and called by content, so that no path is in it.

Which documents of a recipe are of adapters and which of full models depends on what its names stand for, so it is
decided here, with the registry at hand.
"""

import dataclasses
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import InvalidNameError, NotFoundError, UserError
from medley.jobs.artifacts import FoundAdapter, find_adapter, means_folder
from medley.jobs.base_names import BASE_KINDS, belongs_to, identity_of, identity_text
from medley.jobs.bases import HUB_ID, base_of, find_base, local_path, looks_like_path
from medley.jobs.build import ProblemList
from medley.jobs.full_models import FoundModel, find_model
from medley.jobs.hub_client import hub_files
from medley.jobs.shadows import warnings_of

if TYPE_CHECKING:
    from hub import Registry, Version
    from merging import Recipe
    from merging.recipes.documents import Document, Kind


@dataclasses.dataclass(frozen=True)
class RecipeInputs:
    """A recipe and what its names stand for.

    Attributes:
        documents: its merges in order, with inputs named by content: `sha256:<id>` for a version, a folder's name or a
            Hub id for others.
        adapters, models: the inputs by these names.
        bases: the bases that merged adapters are folded into, by the id that adapters know them by.
    """

    documents: tuple["Document", ...]
    adapters: Mapping[str, FoundAdapter]
    models: Mapping[str, FoundModel]
    bases: Mapping[str, FoundModel]

    @property
    def absent(self) -> list[str]:
        """Names of the full models that are not on this machine."""
        return [name for name, model in (*self.models.items(), *self.bases.items()) if model.folder is None]

    @property
    def folders(self) -> dict[str, str]:
        """Where each input is, by its name in the recipe; models that are fetched first are left out."""
        found = {name: str(adapter.folder) for name, adapter in self.adapters.items()}
        return found | {name: str(model.folder) for name, model in self.models.items() if model.folder is not None}

    @property
    def base_folders(self) -> dict[str, str]:
        return {name: str(model.folder or name) for name, model in self.bases.items()}

    @property
    def labels(self) -> dict[str, str]:
        """What sentences call each input: by its folder, or its name where it has none yet."""
        found = {str(adapter.folder): adapter.label for adapter in self.adapters.values()}
        return found | {str(model.folder or name): model.label for name, model in self.models.items()}

    @property
    def pinned_models(self) -> dict[str, Mapping[str, Any]]:
        """The full models as a spec keeps them, by their names."""
        return {name: model.pinned for name, model in (*self.models.items(), *self.bases.items())}

    def seen_in(self, folders: Mapping[str, Path]) -> "RecipeInputs":
        """The same with these folders for the full models; where there is none, a model is not on this machine."""

        def moved(models: Mapping[str, FoundModel]) -> dict[str, FoundModel]:
            return {name: dataclasses.replace(model, folder=folders.get(name)) for name, model in models.items()}

        return dataclasses.replace(self, models=moved(self.models), bases=moved(self.bases))

    def shadow_warnings(self) -> list[str]:
        """Folders that were taken though the registry has something of that name."""
        return warnings_of((*self.adapters.values(), *self.models.values()))

    def pair_warnings(self) -> list[str]:
        """Adapters that a recipe of full models puts on another model than they were trained on."""
        from merging import FullRecipe

        recipes = [document.recipe for document in self.documents if isinstance(document.recipe, FullRecipe)]
        warnings = []
        for reference in dict.fromkeys(each for recipe in recipes for each in recipe.all_references):
            adapter, model = self.adapters.get(reference.lora or ""), self.models.get(reference.model)
            version = model.version if model else None
            if adapter is not None and adapter.base and version is not None and not belongs_to(adapter, version):
                warnings.append(
                    f"{adapter.label} was trained on {identity_text(adapter.base, adapter.base_revision)}, but the "
                    f"recipe puts it on {version.label}."
                )
        return warnings


def find_inputs(registry: "Registry", recipe: Any, *, may_open_paths: bool = True) -> RecipeInputs:
    """The recipe with everything that it names found.

    Args:
        recipe: as `merging.merge` takes it; its models are paths, registry names or Hub ids.
        may_open_paths: False where strangers write the recipe (the app).

    Raises:
        NotFoundError, RecipeError: there is no such recipe file, or it is not one.
        ProblemsError: inputs that cannot be found, or a recipe with errors.
    """
    from merging import Recipe, parse_documents

    documents = parse_documents(recipe, lambda ref: kind_of(registry, ref, may_open_paths))
    adapters, models = _find_all(registry, documents, may_open_paths)
    taken = {word for document in documents for word in (document.name, *document.bases)}
    names = {ref: _name_in_recipe(adapter, list(adapters.values()), taken) for ref, adapter in adapters.items()}
    names |= {ref: _model_name(model, {*names.values(), *taken}) for ref, model in models.items()}
    bases: dict[str, FoundModel] = {}
    problems, pinned = ProblemList(), []
    for document in documents:
        if isinstance(document.recipe, Recipe):
            recipe = document.recipe
            if recipe.output == "model":
                recipe = problems.attempt(_with_fold_base, registry, recipe, adapters, bases) or recipe
            document = dataclasses.replace(document, recipe=_with_known_bases(registry, recipe))
        pinned.append(document.with_models(lambda ref: names.get(ref, ref)))
    problems.report("the merge")
    return RecipeInputs(
        tuple(pinned),
        {names[ref]: adapter for ref, adapter in adapters.items()},
        {names[ref]: model for ref, model in models.items()},
        bases,
    )


def _find_all(
    registry: "Registry", documents: "tuple[Document, ...]", may_open_paths: bool
) -> tuple[dict[str, FoundAdapter], dict[str, FoundModel]]:
    """The adapters and the full models by what the recipe calls them."""
    problems = ProblemList()
    adapters: dict[str, FoundAdapter] = {}
    models: dict[str, FoundModel] = {}
    for ref, kind in (each for document in documents for each in _wanted(document)):
        if kind == "adapter" and ref not in adapters:
            adapters[ref] = problems.attempt(lambda ref=ref: find_adapter(registry, ref, may_open_paths=may_open_paths))
        elif kind == "model" and ref not in models:
            models[ref] = problems.attempt(lambda ref=ref: _find_model(registry, ref, may_open_paths))
    if problems.found and not models:
        problems.found += _other_problems([adapter for adapter in adapters.values() if adapter is not None])
    problems.report("the merge")
    return adapters, models


def _other_problems(found: list[FoundAdapter]) -> list[str]:
    """What stands against the adapters that are there where others are not, so that all of it is told at once."""
    from medley.lm.adapter_file import open_adapter
    from merging.checks.compatibility import adapter_problems, joint_problems

    opened = {adapter.label: open_adapter(adapter.folder) for adapter in found}
    own = [problem for name, adapter in opened.items() for problem in adapter_problems(name, adapter)]
    return own + (joint_problems(opened) if opened else [])


def kind_of(registry: "Registry", ref: str, may_open_paths: bool) -> "Kind | None":
    """Whether a reference means an adapter or a full model; None where it means neither, or nothing."""
    from merging.recipes.documents import folder_kind

    if may_open_paths and (means_folder(ref) or os.path.isfile(os.path.join(ref, "config.json"))):
        return folder_kind(str(local_path(ref)))
    repo_id, _, revision = ref.partition("@")
    try:
        if not HUB_ID.fullmatch(repo_id):
            kind = registry.get(ref).kind
            return "model" if kind in BASE_KINDS else "adapter" if kind == "adapter" else None
        if _is_registered(registry, repo_id):
            return "model"
        files = hub_files(repo_id, revision or None)
    except UserError:
        return None  # whoever looks for the adapter or the model says what is wrong
    return "adapter" if "adapter_config.json" in files else "model" if "config.json" in files else None


def _is_registered(registry: "Registry", hub_id: str) -> bool:
    try:
        find_base(registry, hub_id)
    except NotFoundError:
        return False
    return True


def _wanted(document: "Document") -> list[tuple[str, "Kind"]]:
    """What has to be found for a document, and what it must be."""
    from merging import Recipe

    if isinstance(document.recipe, Recipe):
        return [(ref, "adapter") for ref in document.inputs]
    wanted: list[tuple[str, Kind]] = []
    for reference in document.recipe.all_references:
        wanted.append((reference.model, "model"))
        wanted += [(reference.lora, "adapter")] if reference.lora is not None else []
    return [(ref, kind) for ref, kind in dict.fromkeys(wanted) if ref not in document.uses]


def _find_model(registry: "Registry", ref: str, may_open_paths: bool) -> FoundModel:
    if not may_open_paths and (looks_like_path(ref) or os.path.isfile(os.path.join(ref, "config.json"))):
        raise InvalidNameError("A folder cannot be opened from here. Add it as a base first, and name that.")
    return find_model(registry, ref)


def _with_known_bases(registry: "Registry", recipe: "Recipe") -> "Recipe":
    """The recipe with ids in place of bases' registry names: adapters know their base by its id."""

    def known_as(ref: str) -> str:
        try:
            return identity_of(find_base(registry, ref))[0]
        except UserError:
            return ref  # an id or a folder that is not registered; preflight compares it with the adapters

    return recipe.with_base_name(known_as)


def _with_fold_base(
    registry: "Registry", recipe: "Recipe", adapters: Mapping[str, FoundAdapter], bases: dict[str, FoundModel]
) -> "Recipe":
    """The recipe with the id of the base that its result is folded into; where it names none, that of its adapters."""
    version = _fold_base(registry, recipe, adapters)
    if version is None:
        return recipe
    known_as = identity_of(version)[0]
    bases[known_as] = find_model(registry, f"sha256:{version.id}")
    own = recipe.folded_base
    named = recipe.with_base_name(lambda ref: known_as if ref == own else ref)
    return dataclasses.replace(named, base_model=known_as)


def _fold_base(registry: "Registry", recipe: "Recipe", adapters: Mapping[str, FoundAdapter]) -> "Version | None":
    if recipe.folded_base is not None:
        return find_base(registry, recipe.folded_base)
    first = next((adapters[ref] for ref in recipe.models if ref in adapters), None)
    return base_of(registry, first) if first is not None else None


def _name_in_recipe(adapter: FoundAdapter, others: list[FoundAdapter], taken: Collection[str | None]) -> str:
    """What the recipe calls an input: the same for the same content, without a path, and its own."""
    if adapter.version is not None:
        return f"sha256:{adapter.key}"
    is_shared = any(each.label == adapter.label and each.key != adapter.key for each in others)
    return f"{adapter.label}-{adapter.key[:8]}" if is_shared or adapter.label in taken else adapter.label


def _model_name(model: FoundModel, taken: Collection[str | None]) -> str:
    """The same for a full model: its version, its Hub id and commit, or its folder's name."""
    if model.version is not None:
        return f"sha256:{model.version.id}"
    if "hub_id" in model.pinned:
        return f"{model.pinned['hub_id']}@{model.pinned['revision']}"
    return f"{model.label}-{model.pinned['stamp'][:8]}" if model.label in taken else model.label
