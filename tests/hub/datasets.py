"""A small dataset as `medley data import` makes it, in a registry."""

import json
from pathlib import Path
from typing import Any

from hub import Registry, Version

RECIPE = "import:\n  file: sums.jsonl\nsettings:\n  eval_share: 0.1\n"


def publish_sums(
    registry: Registry,
    folder: Path,
    *,
    count: int = 20,
    answer: str = "It is {}.",
    recipe: str = RECIPE,
    **settings: Any,
) -> Version:
    """The dataset "sums" of `count` rows, a tenth of them to measure on; `folder` must not exist yet."""
    from medley.corpus import import_dataset

    folder.mkdir(parents=True)
    rows = [{"instruction": f"What is {n} plus one?", "output": answer.format(n + 1)} for n in range(count)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = import_dataset(folder / "sums.jsonl", folder / "out", **{"licence": "cc0-1.0", **settings})
    return registry.publish("dataset", "sums", folder / "out", recipe=RECIPE, metadata=report.facts())
