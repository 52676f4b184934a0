"""mergekit's methods for full models: their parameters and how many models each takes. A table, readable without torch.

The maths is mergekit's own. What stands here is compared with mergekit's registry by a test, so that a recipe can be
checked before mergekit, torch or a model is loaded.
"""

from dataclasses import dataclass
from typing import Literal

from merging.method import DENSITY, LAMBDA, WEIGHT, Parameter, normalize, rescale

BasePolicy = Literal["required", "optional", "ignored"]


@dataclass(frozen=True)
class FullMethod:
    """A method as mergekit has it.

    Attributes:
        name: as in recipes.
        parameters: scope "model" for one value per model, else one of the whole merge.
        base: whether a base_model must be among the models of each slice.
        min_models, max_models: how many models each slice merges, the base among them where it is not ignored.
        min_others, max_others: how many of them are not the base.
        is_base_weighted: True where the base needs the per-model parameters too.
        divides_by_weights: True where weights that sum to zero leave no number, unless a switch turns that off.
    """

    name: str
    parameters: tuple[Parameter, ...] = ()
    base: BasePolicy = "required"
    min_models: int = 1
    max_models: int | None = None
    min_others: int = 0
    max_others: int | None = None
    is_base_weighted: bool = False
    divides_by_weights: bool = False

    def parameter(self, name: str) -> Parameter | None:
        return next((each for each in self.parameters if each.name == name), None)


INT8_MASK = Parameter("int8_mask", bool, False, "Keep masks in 8 bits, which saves memory.")
EPSILON = Parameter("epsilon", float, 0.15, "How far the chance to be kept spreads around density.", scope="model")
GAMMA = Parameter("gamma", float, 0.01, "Share of the largest entries that is dropped.", low=0.0, scope="model")
SAME = Parameter("epsilon", float, 1e-5, "Entries that changed by less count as unchanged.", low=0.0)
SCALE = Parameter("scale", float, None, "The model's weights are multiplied by this.", scope="model", optional=True)


def _t(help_text: str, high: float | None) -> Parameter:
    return Parameter("t", float, None, help_text, low=0.0, high=high, is_required=True)


def _task_arithmetic(name: str, *more: Parameter, is_normalized: bool = False, is_rescaled: bool = False) -> FullMethod:
    shared = (INT8_MASK, normalize(is_normalized), rescale(is_rescaled), LAMBDA)
    return FullMethod(name, (*shared, WEIGHT, DENSITY, *more))


FULL_METHODS: dict[str, FullMethod] = {
    method.name: method
    for method in (
        FullMethod("linear", (WEIGHT, normalize(True)), "ignored", is_base_weighted=True, divides_by_weights=True),
        FullMethod("slerp", (_t("0 is base_model, 1 the other model.", 1.0),), min_models=2, max_models=2),
        FullMethod(
            "nuslerp",
            (
                WEIGHT,
                Parameter("nuslerp_row_wise", bool, False, "Turn row by row instead of column by column."),
                Parameter("nuslerp_flatten", bool, True, "Turn each tensor as one vector."),
            ),
            "optional",
            min_others=2,
            max_others=2,
        ),
        FullMethod(
            "multislerp",
            (
                WEIGHT,
                Parameter("normalize_weights", bool, True, "Divide the weights by their sum."),
                Parameter("eps", float, 1e-8, "Shorter vectors count as zero.", low=0.0),
            ),
            "optional",
            min_others=1,
            divides_by_weights=True,
        ),
        FullMethod(
            "karcher",
            (
                Parameter("max_iter", int, 10, "The most steps.", low=1),
                Parameter("tol", float, 1e-5, "A shorter step ends it.", above=0.0),
            ),
            "ignored",
        ),
        _task_arithmetic("task_arithmetic"),
        _task_arithmetic("ties", is_normalized=True),
        _task_arithmetic("dare_linear", is_rescaled=True),
        _task_arithmetic("dare_ties", is_rescaled=True),
        _task_arithmetic("breadcrumbs", GAMMA),
        _task_arithmetic("breadcrumbs_ties", GAMMA),
        _task_arithmetic("della", EPSILON, is_normalized=True, is_rescaled=True),
        _task_arithmetic("della_linear", EPSILON, is_rescaled=True),
        FullMethod(
            "sce",
            (
                INT8_MASK,
                Parameter("select_topk", float, 1.0, "Share of the entries that vary most.", above=0.0, high=1.0),
            ),
        ),
        FullMethod(
            "model_stock", (Parameter("filter_wise", bool, False, "One ratio per row instead of per tensor."),),
            min_models=3,
        ),
        FullMethod("nearswap", (_t("Entries further apart are mixed less.", None),), min_models=2, max_models=2),
        FullMethod("arcee_fusion", min_models=2, max_models=2),
        FullMethod("ram", (SAME,)),
        FullMethod(
            "ramplus_tl",
            (
                Parameter("r", float, 0.1, "How much the share of common entries counts.", low=0.0),
                Parameter("alpha", float, 0.2, "The most that entries of one model are scaled up by.", low=0.0),
                SAME,
            ),
        ),
        FullMethod("passthrough", (SCALE,), "ignored", max_models=1, is_base_weighted=True),
    )
}  # fmt: skip
