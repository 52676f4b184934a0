"""Fixtures of the hub's tests: an empty registry, and folders with something to publish."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from hub import Registry, open_registry

FILES = {"adapter_config.json": b'{"r": 4}', "adapter_model.safetensors": b"\x00" * 1000 + b"weights"}


@pytest.fixture
def registry(medley_home: Path) -> Iterator[Registry]:
    """An empty registry in the test's own home folder."""
    opened = open_registry(medley_home)
    yield opened
    opened.close()


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """make_folder(files) writes a new folder with those contents (path -> bytes); without files, a small adapter's."""
    made = 0

    def make(files: Mapping[str, bytes] = FILES) -> Path:
        nonlocal made
        made += 1
        folder = tmp_path / f"folder-{made}"
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return folder

    return make
