"""The tiny base in memory in float32, and an engine on it with two adapters of different rank."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medley.lm.engine import Engine
from medley.lm.load import LoadedBase, load_base


@pytest.fixture(scope="session")
def loaded_tiny(tiny_base: Path) -> LoadedBase:
    """The tiny base in float32 on the CPU. Engines leave it as it was; so must tests."""
    return load_base(tiny_base, device="cpu", dtype="float32")


@pytest.fixture
def engine(loaded_tiny: LoadedBase, make_adapter: Callable[..., Path]) -> Iterator[Engine]:
    """Adapters "a" (rank 4, all linear layers) and "b" (rank 3, two kinds of layers)."""
    engine = Engine(loaded_tiny)
    engine.add("a", make_adapter("a", r=4, seed=1))
    engine.add("b", make_adapter("b", r=3, seed=2, target_modules=["q_proj", "down_proj"]))
    yield engine
    engine.close()
