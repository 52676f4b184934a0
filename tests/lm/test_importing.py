"""What an import finds changed around it, and that nothing of it is left when it is over."""

import gc
import importlib
import os
import sys
from pathlib import Path

import pytest

from medley.lm.importing import COMPILES_NOTHING, import_quickly


def twice(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("chosen", [None, "0"])
def test_nothing_is_collected_or_compiled_inside_and_all_is_as_before_after(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None
) -> None:
    import torch

    monkeypatch.delenv(COMPILES_NOTHING, raising=False)
    if chosen is not None:
        monkeypatch.setenv(COMPILES_NOTHING, chosen)
    with import_quickly():
        assert not gc.isenabled()
        assert torch.compile(twice) is twice
    with pytest.raises(ModuleNotFoundError), import_quickly():
        importlib.import_module("there_is_no_such_library")
    assert gc.isenabled()
    assert os.environ.get(COMPILES_NOTHING) == chosen


def test_later_collections_pass_over_what_was_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_great_library.py").write_text("parts = [[] for _ in range(1000)]\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = gc.get_freeze_count()
    with import_quickly():
        importlib.import_module("a_great_library")
    frozen = gc.get_freeze_count()
    assert frozen >= before + 1000
    more = [[] for _ in range(1000)]
    with import_quickly():  # it is here already, so that nothing that came since is taken for a part of it
        importlib.import_module("a_great_library")
    assert gc.get_freeze_count() <= frozen
    assert len(more) == 1000
    del sys.modules["a_great_library"]
