"""The application: work that takes longer than a second, done by a process of its own and written down.

    jobs = open_jobs()
    job = jobs.submit(train_spec(registry, "sft", base=None, data="pirate-data", name="pirate"))
    for event in follow_job(jobs, job.id): …

This package alone turns names into folders and results into registry versions. Importing it is cheap.
"""

import importlib
from typing import Any

_HOMES = {  # no function is named like a file here: the package's attribute would then be the file
    "EnginePool": "panes",
    "Grace": "queue",
    "Job": "job",
    "JobSpec": "spec",
    "Jobs": "desk",
    "OpenPanes": "panes",
    "add_base": "artifacts",
    "base_folder": "artifacts",
    "base_identity": "artifacts",
    "base_of": "artifacts",
    "compare_types_spec": "build_compare_types",
    "compare_runs": "run_comparison",
    "find_adapter": "artifacts",
    "find_base": "artifacts",
    "open_scorer": "scorers",
    "score_text": "scoring",
    "convert_spec": "build_convert",
    "plan_convert": "build_convert",
    "extract_spec": "build_extract",
    "plan_extract": "build_extract",
    "follow_job": "follow",
    "write_adapter_gguf": "export_gguf",
    "fold_spec": "build_fold",
    "set_up_fold": "build_fold",
    "import_spec": "build_import",
    "learn_weights_spec": "build_learn_weights",
    "mix_spec": "build_mix",
    "diagnose_plan": "build_merge",
    "live_weights": "build_merge",
    "merge_preflight": "build_merge",
    "merge_spec": "build_merge",
    "plan_merge": "build_merge",
    "plan_panes": "panes",
    "open_jobs": "desk",
    "open_panes": "panes",
    "parse_pane": "panes",
    "parse_shares": "build_mix",
    "parse_spec": "spec",
    "spec_estimate": "estimate",
    "train_recipe_spec": "build",
    "train_spec": "build",
    "training_estimate": "estimate",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
