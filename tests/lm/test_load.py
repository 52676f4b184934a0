"""A base loads from safetensors alone, on the device and in the numbers asked for; anything else is refused first."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medley.errors import BaseModelError, ParameterError, ProblemsError
from medley.lm.base_folder import check_base_folder
from medley.lm.load import Device, choose_device, load_base, load_tokenizer, template_hash, weights_digest
from tests.tiny_model import CHAT_TEMPLATE


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    """A copy of the tiny base that a test may spoil."""
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


def edit_json(path: Path, **values: object) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **values}))


def test_a_base_is_ready_to_run_and_frozen(tiny_base: Path) -> None:
    base = load_base(tiny_base, device="cpu", dtype="float32")
    assert base.device == Device("cpu", "float32", None)
    assert not base.model.training
    assert {parameter.dtype for parameter in base.model.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert base.template_hash == hashlib.sha256(CHAT_TEMPLATE.encode()).hexdigest()


@pytest.mark.parametrize("quant", ["none", "4bit"])
def test_loading_prints_nothing(tiny_base: Path, quant: str) -> None:
    """Neither a bar, nor bitsandbytes' proposal to install a package that fetches code."""
    code = (
        "import sys; from pathlib import Path; from medley.lm.load import load_base\n"
        "load_base(Path(sys.argv[1]), device='cpu', quant=sys.argv[2])"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tiny_base), quant], capture_output=True, check=True)
    assert (result.stdout, result.stderr) == (b"", b"")


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="has an accelerator")
def test_the_device_words_on_a_machine_with_a_cpu_alone() -> None:
    assert choose_device().name == choose_device("none", "auto").name == "cpu"
    assert choose_device().dtype in ("bfloat16", "float32")
    assert choose_device("4bit").trained_on == "nf4"
    assert Device("cpu", "float32").trained_on == "fp32"
    assert Device("cuda", "bfloat16").trained_on == "bf16"
    with pytest.raises(ParameterError, match=r"^There is no cuda device on this machine\. Use cpu or auto\.$"):
        choose_device(device="cuda")


def test_unknown_words_are_refused(tiny_base: Path) -> None:
    with pytest.raises(ParameterError, match=r"^quant must be none or 4bit, got 8bit\.$"):
        choose_device("8bit")
    with pytest.raises(ParameterError, match=r"^device must be one of auto, cuda, mps, cpu, got tpu\.$"):
        choose_device(device="tpu")
    with pytest.raises(ParameterError, match=r"^dtype must be one of bfloat16, float32, float16, got int8\.$"):
        load_base(tiny_base, dtype="int8")


def test_the_weights_digest_is_the_weights_and_nothing_else(base: Path) -> None:
    whole = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    expected = hashlib.sha256(f"model.safetensors\0{whole}\n".encode()).hexdigest()
    assert weights_digest(base) == expected
    edit_json(base / "config.json", note="changed")
    assert weights_digest(base) == expected
    content = bytearray((base / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (base / "model.safetensors").write_bytes(bytes(content))
    assert weights_digest(base) != expected


def test_a_tokenizer_without_a_template_has_no_hash(base: Path) -> None:
    (base / "chat_template.jinja").unlink()
    assert load_base(base, device="cpu").template_hash is None
    loaded = load_base(base, device="cpu").tokenizer
    loaded.chat_template = {"default": "x", "tool_use": "y"}
    assert template_hash(loaded) == hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda base: (base / "config.json").unlink(), "is not a base model: it has no config.json."),
        (lambda base: (base / "model.safetensors").unlink(), "has no weights (*.safetensors)."),
        (
            lambda base: (base / "model.safetensors").rename(base / "pytorch_model.bin"),
            "has only pickled weights (pytorch_model.bin); Medley loads safetensors only.",
        ),
        (lambda base: (base / "config.json").write_text("{"), "is not valid JSON"),
        (lambda base: (base / "config.json").write_text("[]"), "must hold a JSON object."),
        (
            lambda base: edit_json(base / "config.json", auto_map={"AutoModel": "x.Y"}),
            "config.json names code to run (auto_map); Medley never runs a model's own code.",
        ),
        (
            lambda base: edit_json(base / "tokenizer_config.json", auto_map={"AutoTokenizer": ["x.Y", None]}),
            "tokenizer_config.json names code to run (auto_map)",
        ),
        (
            lambda base: (base / "modeling_x.py").write_text("import os"),
            "The base contains code (modeling_x.py); Medley never runs a model's own code.",
        ),
        (
            lambda base: edit_json(base / "config.json", _attn_implementation="someone/kernel"),
            "asks for a kernel to be fetched (_attn_implementation = 'someone/kernel')",
        ),
        (
            lambda base: edit_json(base / "config.json", text_config={"attn_implementation": "someone/kernel"}),
            "asks for a kernel to be fetched (attn_implementation = 'someone/kernel')",
        ),
        (lambda base: (base / "adapter_config.json").write_text("{}"), "holds an adapter beside the base"),
        (
            lambda base: edit_json(base / "model.safetensors.index.json", weight_map={"x": "model-2.safetensors"}),
            "1 of 1 weight files are missing, the first is model-2.safetensors.",
        ),
        (
            lambda base: edit_json(base / "model.safetensors.index.json", weight_map={"x": "../model.safetensors"}),
            "points outside its folder ('../model.safetensors').",
        ),
        (lambda base: (base / "model.safetensors").write_bytes(b"12"), "damaged"),
        (lambda base: edit_json(base / "config.json", model_type="martian"), "cannot be loaded"),
        (lambda base: edit_json(base / "config.json", hidden_size=48), "cannot be loaded"),
    ],
)
def test_unusable_folders_are_refused_with_the_reason(
    base: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(base)
    with pytest.raises(BaseModelError) as caught:
        load_base(base, device="cpu")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_weights_are_not_made_up(base: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(base / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        BaseModelError, match=r"1 weights are missing, the first is model\.layers\.1\.mlp\.up_proj\.weight\."
    ):
        load_base(base, device="cpu")


def test_an_adapter_is_not_taken_for_a_base(make_adapter: Callable[..., Path]) -> None:
    with pytest.raises(BaseModelError, match=r"is not a base model: it is an adapter, and a base model is needed\.$"):
        check_base_folder(make_adapter("one"))


def test_all_problems_are_told_at_once_and_no_code_runs(base: Path, tmp_path: Path) -> None:
    (base / "model.safetensors").unlink()
    (base / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    edit_json(base / "config.json", auto_map={"AutoModelForCausalLM": "evil.Model"})
    with pytest.raises(ProblemsError) as caught:
        load_base(base, device="cpu")
    assert len(caught.value.problems) == 3
    assert not (tmp_path / "ran").exists()
    assert "evil" not in sys.modules


@pytest.mark.parametrize("module", ["adapter_file", "base_folder", "bundled", "load", "panes", "prompts", "sampling"])
def test_what_lists_and_flags_need_comes_without_torch(module: str) -> None:
    code = f"import sys, medley.lm.{module}; print([each for each in ('torch', 'transformers') if each in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_base_whose_chat_template_could_do_harm_is_refused(base: Path) -> None:
    (base / "chat_template.jinja").write_text("{{ messages.append.__globals__ }}")
    for load in (load_tokenizer, lambda folder: load_base(folder, device="cpu")):
        with pytest.raises(BaseModelError) as caught:
            load(base)
        assert str(caught.value) == (f"The chat template in {base} reaches for Python's insides. It is not rendered.")
