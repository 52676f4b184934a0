"""What docs/merging.md shows of adding a method works as it stands there, and the pages name every method there is.

The three blocks of its example are put where the page says they go: a module, a row of METHODS, an oracle.
"""

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import merging.method
import tests.merging.oracle
from merging import METHODS, merge, recipe_from_weights
from tests.merging.lora_files import dense_deltas, random_lora
from tests.merging.oracle import Oracle

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "merging.md").read_text(encoding="utf-8")


def example() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.partition("## Adding a method")[2], re.DOTALL)


@pytest.fixture
def median(monkeypatch: pytest.MonkeyPatch) -> Oracle:
    """The oracle of the example's method, which is in the table for the time of a test."""
    function, row, oracle = example()
    module = ModuleType("merging.methods.median")
    exec(function, vars(module))
    method = eval(row, vars(merging.method))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(METHODS, method.name, method)
    names = dict(vars(tests.merging.oracle))
    exec(oracle, names)
    return names[method.name]


@pytest.mark.parametrize("count", [2, 3])
def test_the_example_merges_as_its_oracle_says(tmp_path: Path, median: Oracle, count: int) -> None:
    folders = [random_lora(tmp_path / f"{index}", seed=index, rank=1) for index in range(count)]
    models = [(folder, None) for folder in folders]
    merge(recipe_from_weights("median", models, {"lambda": 2.0}, space="delta", rank=5), tmp_path / "out")
    inputs = [dense_deltas(folder) for folder in folders]
    for name, found in dense_deltas(tmp_path / "out").items():
        deltas = np.stack([each[name].numpy() for each in inputs])
        wanted = median(deltas, np.ones(count), {"lambda": 2.0}, lambda: np.zeros(()))
        assert np.allclose(found.numpy(), wanted, atol=1e-5)


def test_every_method_has_its_line_in_the_table_of_methods() -> None:
    table = PAGE.partition("## Which one")[2].partition("\n\n**Exact** methods")[0]
    lines = re.findall(r"^\| `(\w+)` \| (\w+) \|", table, re.MULTILINE)
    assert sorted(lines) == sorted((name, row.family) for name, row in METHODS.items())


def test_the_readme_counts_the_methods() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"in (\d+) ways", text) == [f"{len(METHODS)}"]
