"""Does an import job: a file or a Hub dataset in, one dataset version of clean rows out."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.jobs.work import JobWork

if TYPE_CHECKING:
    from medley.corpus import ImportReport


def run(work: JobWork) -> str:
    """The id of the imported version."""
    out_dir = work.out_dir / "dataset"
    shutil.rmtree(out_dir, ignore_errors=True)
    report = _import(work, out_dir)
    work.emit("progress", step=1, total=1, text="Registering")
    return work.register(
        "dataset",
        out_dir,
        recipe=recipe_text(work),
        facts=report.facts(),
    )


def _import(work: JobWork, out_dir: Path) -> "ImportReport":
    from medley.corpus import import_dataset, import_from_hub

    source, settings = work.spec.params["source"], work.spec.params["settings"]
    if "path" in source:
        return import_dataset(Path(source["path"]), out_dir, emit=work.emit_or_stop, **settings)
    return import_from_hub(
        source["hub_id"],
        out_dir,
        revision=source["revision"],
        split=source["split"],
        emit=work.emit_or_stop,
        **settings,
    )


def recipe_text(work: JobWork) -> str:
    """What was imported and how; of a file only its name, because the path says something about this machine alone."""
    import yaml

    source = dict(work.spec.params["source"])
    if "path" in source:
        source = {"file": Path(source["path"]).name}
    recipe: dict[str, Any] = {"import": source, "settings": work.spec.params["settings"]}
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120)
