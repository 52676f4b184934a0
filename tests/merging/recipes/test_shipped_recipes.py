"""The recipes that come along run, and so does the example of docs/merging.md, without registry, home or network."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from merging import merge
from tests.merging.llama_family import weights, write_model
from tests.tiny_model import write_tiny_adapter

ROOT = Path(__file__).resolve().parents[3]
MERGES = [path for path in sorted((ROOT / "recipes").glob("*.yaml")) if "merge_method:" in path.read_text("utf-8")]
MODELS = ("linear_models", "adapter_to_model")
MODEL_NAMES = ("smollm2-135m-instruct", "pirate-model")


@pytest.fixture(scope="module")
def folders(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Tiny models and adapters by the names that the recipes use."""
    folder = tmp_path_factory.mktemp("shipped")
    base = write_model(tiny_base, folder / "base", 0)
    found = {"smollm2-135m-instruct": base, "pirate-model": write_model(tiny_base, folder / "pirate-model", 1)}
    for seed, name in enumerate(("pirate", "tidy")):
        found[name] = write_tiny_adapter(base, folder / name, seed=seed)
    return {name: str(path) for name, path in found.items()}


@pytest.mark.parametrize("path", MERGES, ids=lambda path: path.stem)
def test_shipped_recipes_run(path: Path, folders: dict[str, str], tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name, folder in folders.items():
        text = re.sub(rf"(model: ){name}(?= #|$)", rf"\g<1>{folder}", text, flags=re.MULTILINE)
    report = merge(text, tmp_path / "out")
    expected = "model.safetensors" if path.stem in MODELS else "adapter_model.safetensors"
    assert (tmp_path / "out" / expected).is_file()
    assert {each.name for each in report.inputs} <= {"pirate", "tidy", "base", "pirate-model", "average"}
    assert folders["tidy"] not in (tmp_path / "out" / "recipe.yaml").read_text(encoding="utf-8")


def test_two_steps_are_one_sum(folders: dict[str, str], tmp_path: Path) -> None:
    """(pirate + tidy)/2 - pirate/4 = pirate/4 + tidy/2."""
    text = (ROOT / "recipes" / "two_steps.yaml").read_text(encoding="utf-8")
    for name in ("pirate", "tidy"):
        text = text.replace(f"model: {name}\n", f"model: {folders[name]}\n")
    merge(text, tmp_path / "steps")
    models = [{"model": folders["pirate"], "parameters": {"weight": 0.25}},
              {"model": folders["tidy"], "parameters": {"weight": 0.5}}]  # fmt: skip
    merge({"merge_method": "task_arithmetic", "models": models}, tmp_path / "sum")
    ours, wanted = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("steps", "sum"))
    for key in (key for key in wanted if "lora_B" in key):
        other = key.replace("lora_B", "lora_A")
        assert torch.allclose(ours[key] @ ours[other], wanted[key] @ wanted[other], atol=1e-5)


def test_the_models_are_averaged_in_float32_and_cast_once(folders: dict[str, str], tmp_path: Path) -> None:
    models = [{"model": folders[name], "parameters": {"weight": 0.5}} for name in MODEL_NAMES]
    merge({"merge_method": "linear", "models": models, "dtype": "bfloat16"}, tmp_path / "out")
    ours, base, other = (weights(Path(each)) for each in (tmp_path / "out", *(folders[name] for name in MODEL_NAMES)))
    for name, tensor in ours.items():
        assert torch.equal(tensor, (0.5 * base[name] + 0.5 * other[name]).to(torch.bfloat16))


def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "merging.md").read_text(encoding="utf-8"), re.DOTALL)
    blocked = "import sys; sys.addaudithook(lambda event, _: event == 'socket.connect' and sys.exit('the network'))\n"
    result = subprocess.run(
        [sys.executable, "-c", blocked + code[1]],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    lines = result.stdout.splitlines()
    assert lines[0] == "()"
    assert re.fullmatch(rf"4 \de-0[78] \['{name}\.lora_A\.weight', '{name}\.lora_B\.weight'\]", lines[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blend", "pirate", "tidy"]
