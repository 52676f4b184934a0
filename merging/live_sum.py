"""What an exact merge multiplies its adapters with, module by module: enough to add their deltas up without merging."""

from medley.errors import ProblemsError
from merging.check import Preflight
from merging.reading import one_thread, open_reader
from merging.solve import sum_coefficients


def module_weights(found: Preflight) -> list[dict[str, float]] | None:
    """For each adapter, in the order of `Recipe.models`: module to the number that its delta is multiplied with.

    None where no such numbers are the merge: the method looks at entries or directions, gives each row or column a
    number of its own, or adds compressed deltas up. A cut to a rank is not in them. Reads the adapters' weights once.

    Args:
        found: the preflight of a recipe of adapters.

    Raises:
        ProblemsError: everything that stands against the merge.
        AdapterFormatError: an adapter holds NaN or Infinity.
    """
    recipe = found.recipe
    if found.problems or recipe is None:
        raise ProblemsError("the merge", found.problems)
    if recipe.method.family != "exact" or recipe.named_space == "compressed":
        return None
    weights: list[dict[str, float]] = [{} for _ in found.adapters]
    with one_thread():
        reader = open_reader(recipe, found, [("", "")] * len(weights))
        for plan in found.modules:
            numbers = sum_coefficients(recipe, plan, reader.read(plan))
            if not all(isinstance(number, float) for number in numbers):
                return None
            for index, number in zip(plan.inputs, numbers, strict=True):
                if index is not None:
                    weights[index][plan.name] = weights[index].get(plan.name, 0.0) + number
    return weights
