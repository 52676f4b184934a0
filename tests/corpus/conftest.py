"""Fixtures of the corpus tests: data files made on the spot, imports of them, and a tokenizer."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medley.corpus import ImportReport, import_dataset
from tests.corpus.reading import Imported


@pytest.fixture
def data_file(tmp_path: Path) -> Callable[..., Path]:
    """data_file("x.jsonl", rows) writes rows, .json as one list, else as lines; bytes and str as they are."""

    def write(name: str, content: Any) -> Path:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif name.endswith(".json"):
            path.write_text(json.dumps(content), encoding="utf-8")
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def imported(data_file: Callable[..., Path], tmp_path: Path) -> Callable[..., Imported]:
    """imported(rows, name="data.jsonl", **settings) imports them and gives the report and all rows in source order."""

    def run(content: Any, name: str = "data.jsonl", **settings: Any) -> Imported:
        out = tmp_path / "out"
        report: ImportReport = import_dataset(data_file(name, content), out, **{"eval_share": 0.0, **settings})
        return Imported.read(report, out)

    return run


@pytest.fixture(scope="session")
def tiny(tiny_base: Path) -> Any:
    """The tiny tokenizer, shared: to be looked at only."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_base)


@pytest.fixture
def tokenizer(tiny: Any) -> Any:
    """The tiny tokenizer, to be changed by a test."""
    return copy.deepcopy(tiny)
