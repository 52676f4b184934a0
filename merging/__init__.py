"""Pure maths and one runner: LoRA adapters in, one adapter out, without loading their base model.

`METHODS` is the table of methods. Adding one: a file `merging/methods/<name>.py` with its function, and a row here.
Nothing in this file imports torch; `merge`, `preflight` and the others in public.py are loaded when first asked for.
"""

import importlib
from typing import Any

from merging.method import (
    DENSITY,
    EPSILON,
    GAMMA,
    LAMBDA,
    VARIANTS,
    WEIGHT,
    Method,
    Parameter,
    normalize,
    rescale,
)
from merging.public import HOME_OF

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "linear",
            "exact",
            "arXiv:2203.05482",
            "Use this to average adapters that do similar things; each gets the share that its weight says.",
            (WEIGHT, normalize(True)),
            divides_by_weights=True,
            counts_base=True,
            is_fixed_sum=True,
        ),
        Method(
            "task_arithmetic",
            "exact",
            "arXiv:2212.04089",
            "Use this to add skills, or with a negative weight to take one away; the safest first try.",
            (WEIGHT, normalize(False), LAMBDA),
            is_fixed_sum=True,
        ),
        Method(
            "slerp",
            "exact",
            "Shoemake, SIGGRAPH 1985",
            "Use this to slide between exactly two adapters without losing strength on the way.",
            (
                Parameter(
                    "t", float, None, "0 is the first adapter, 1 the second.", low=0.0, high=1.0, is_required=True
                ),
            ),
            min_models=2,
            max_models=2,
            is_ordered=True,
        ),
        Method(
            "nuslerp",
            "exact",
            "Shoemake, SIGGRAPH 1985; mergekit's nuslerp",
            "Use this for slerp by weights instead of t, or with an angle of its own for each row or column.",
            (
                WEIGHT,
                Parameter("nuslerp_flatten", bool, True, "One angle for the whole matrix, not one per row or column."),
                Parameter("nuslerp_row_wise", bool, False, "Without flatten: an angle per column, not one per row."),
            ),
            min_models=2,
            max_models=2,
            divides_by_weights=True,
        ),
        Method(
            "multislerp",
            "exact",
            "goddard.blog/posts/multislerp-wow-what-a-cool-idea",
            "Use this to average several adapters without the loss of strength that a plain average has.",
            (
                WEIGHT,
                Parameter("normalize_weights", bool, True, "Divide the weights by their sum."),
                Parameter("eps", float, 1e-8, "Is added to norms before they divide.", above=0.0, is_advanced=True),
            ),
            divides_by_weights=True,
        ),
        Method(
            "karcher",
            "exact",
            "arXiv:2603.04972",
            "Use this for the middle of several adapters on the sphere, all with the same say; it takes no weights.",
            (
                Parameter("max_iter", int, 10, "The largest number of steps.", low=1, high=1000, is_advanced=True),
                Parameter("tol", float, 1e-5, "Steps end below this angle, in radians.", above=0.0, is_advanced=True),
            ),
            counts_base=True,
        ),
        Method(
            "model_stock",
            "exact",
            "arXiv:2403.19522",
            "Use this for adapters of one task from several runs: what they do not share is drawn back to the base.",
            (Parameter("filter_wise", bool, False, "An own share for each row instead of one for the whole matrix."),),
            min_models=2,
        ),
        Method(
            "ties",
            "elementwise",
            "arXiv:2306.01708",
            "Use this when adapters disturb each other: small entries go, and each entry follows the majority's sign.",
            (WEIGHT, DENSITY, normalize(True), rescale(False), LAMBDA),
            variants=VARIANTS,
            paper_needs_one_density=True,
        ),
        Method(
            "dare_linear",
            "elementwise",
            "arXiv:2311.03099",
            "Use this to thin many strong adapters at random before adding them up.",
            (WEIGHT, DENSITY, normalize(False), rescale(True), LAMBDA),
            variants=VARIANTS,
            is_random=True,
        ),
        Method(
            "dare_ties",
            "elementwise",
            "arXiv:2311.03099",
            "Use this to thin at random and then let each entry follow the majority's sign.",
            (WEIGHT, DENSITY, normalize(False), rescale(True), LAMBDA),
            variants=VARIANTS,
            is_random=True,
        ),
        Method(
            "della_linear",
            "elementwise",
            "arXiv:2406.11617",
            "Use this to thin at random, sparing the larger entries of each row, before adding up.",
            (WEIGHT, DENSITY, EPSILON, normalize(False), rescale(True), LAMBDA),
            variants=VARIANTS,
            is_random=True,
        ),
        Method(
            "della",
            "elementwise",
            "arXiv:2406.11617",
            "Use this to thin at random, sparing the larger entries, and then let each follow the majority's sign.",
            (WEIGHT, DENSITY, EPSILON, normalize(True), rescale(True), LAMBDA),
            variants=VARIANTS,
            is_random=True,
        ),
        Method(
            "breadcrumbs",
            "elementwise",
            "arXiv:2312.06795",
            "Use this to drop the small entries and the few extreme ones before adding up.",
            (WEIGHT, DENSITY, GAMMA, normalize(False), rescale(False), LAMBDA),
        ),
        Method(
            "breadcrumbs_ties",
            "elementwise",
            "arXiv:2312.06795",
            "Use this to drop small and extreme entries and then let each entry follow the majority's sign.",
            (WEIGHT, DENSITY, GAMMA, normalize(False), rescale(False), LAMBDA),
            variants=VARIANTS,
        ),
        Method(
            "sce",
            "elementwise",
            "arXiv:2408.07990",
            "Use this when you do not want to choose weights: each adapter counts by its size where they differ.",
            (
                Parameter(
                    "select_topk",
                    float,
                    1.0,
                    "Share of the entries in which adapters differ that counts.",
                    above=0.0,
                    high=1.0,
                ),
            ),
            variants=VARIANTS,
        ),
        Method(
            "magnitude_prune",
            "elementwise",
            "peft's add_weighted_adapter, combination_type='magnitude_prune_svd'",
            "Use this to drop the small entries of each adapter before adding them up.",
            (WEIGHT, DENSITY),
        ),
        Method(
            "tsv",
            "spectral",
            "arXiv:2412.00081",
            "Use this for adapters of separate tasks: each keeps its strength, and their directions are turned apart.",
            (
                WEIGHT,
                Parameter(
                    "keep",
                    float,
                    1.0,
                    "Share of each adapter's directions that stays, strongest first.",
                    above=0.0,
                    high=1.0,
                ),
                LAMBDA,
            ),
        ),
        Method(
            "iso_c",
            "spectral",
            "arXiv:2502.04959",
            "Use this when strong adapters drown weak ones: every direction of their sum gets the same strength.",
            (WEIGHT, LAMBDA),
        ),
        Method(
            "iso_cts",
            "spectral",
            "arXiv:2502.04959",
            "Use this like iso_c when there are many adapters: each also gets directions of its own.",
            (
                WEIGHT,
                Parameter(
                    "common_fraction",
                    float,
                    0.8,
                    "Share of the directions that belong to the sum of all.",
                    low=0.0,
                    high=1.0,
                ),
                LAMBDA,
            ),
        ),
        Method(
            "concat",
            "concat",
            "arXiv:2410.13025",
            "Use this for the exact weighted sum at once, when a rank as large as all ranks together does not matter.",
            (WEIGHT,),
        ),
        Method(
            "factor",
            "factor",
            "peft's add_weighted_adapter, combination_type='linear'",
            "Approximate, only for comparison with peft: it averages A and B apart, which adds terms nobody trained.",
            (WEIGHT,),
        ),
    )
}

__all__ = ["METHODS", "Method", "Parameter", *HOME_OF]


def __getattr__(name: str) -> Any:
    if name not in HOME_OF:
        raise AttributeError(f"module 'merging' has no attribute '{name}'")
    return getattr(importlib.import_module(HOME_OF[name]), name)
