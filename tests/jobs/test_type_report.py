"""The report of a comparison of types: written and read without loss, and nothing else is taken for one."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from medley.errors import StorageError
from medley.jobs.type_report import REPORT_FILE, TypeRow, read_type_report, write_report

LORA = TypeRow("lora", 2.5, 3.0, 0.5, 0.02, 0.01, 300_000_000, 12.5, 19_000_000, 4_884_480, 2e-4, 2.75, 20)
IA3 = replace(LORA, adapter="ia3", eval_loss=2.25)


def test_what_is_written_is_read_the_best_loss_first(tmp_path: Path) -> None:
    write_report(tmp_path / REPORT_FILE, [LORA, IA3], {"steps": 20})
    assert read_type_report(SimpleNamespace(path=tmp_path)) == [IA3, LORA]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{"adapter": "lora"}]}', '{"rows": [{"unknown": 1}]}'])
def test_anything_else_is_no_report(tmp_path: Path, text: str) -> None:
    (tmp_path / REPORT_FILE).write_text(text)
    with pytest.raises(StorageError, match=r"^report\.json is not a comparison of adapter types\.$"):
        read_type_report(SimpleNamespace(path=tmp_path))
