"""The four merges of the demo answer in our engine as in plain peft, on the tiny base and on the bundled one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medley.lm.engine import Engine
from medley.lm.load import LoadedBase, load_base
from medley.lm.prompts import prompt_ids
from merging import merge, recipe_from_weights
from tests.tiny_model import write_tiny_adapter

MERGES = {
    "linear": {},
    "slerp": {},
    "ties": {"parameters": {"density": 0.5}},
    "dare_ties": {"parameters": {"density": 0.5}, "seed": 7},
}
QUESTION = ({"role": "user", "content": "How do I keep ants out of the kitchen?"},)


def peft_logits(base: LoadedBase, adapter: Path) -> torch.Tensor:
    """Logits (T, V) of the question in plain transformers and peft, in float32."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32), adapter)
    with torch.inference_mode():
        return model.eval()(torch.tensor([prompt_ids(base.tokenizer, QUESTION)])).logits[0]


def check_merges(base: LoadedBase, adapters: list[Path], out: Path, *, tolerance: float) -> None:
    """Every merge of the two adapters, made twice to the same bytes, has peft's logits and changes the base's."""
    engine = Engine(base)
    bare = engine.logits(QUESTION, {})
    for method, settings in MERGES.items():
        recipe = recipe_from_weights(method, [(folder, None) for folder in adapters], **settings)
        first, second = merge(recipe, out / method), merge(recipe, out / f"{method} again")
        files = [each.out_dir / "adapter_model.safetensors" for each in (first, second) if each.out_dir]
        assert files[0].read_bytes() == files[1].read_bytes(), method
        engine.add(method, out / method)
        ours, theirs = engine.logits(QUESTION, {method: 1.0}), peft_logits(base, out / method)
        assert float((ours - bare).abs().max()) > 100 * tolerance, method
        torch.testing.assert_close(
            ours, theirs, atol=tolerance, rtol=1e-4, msg=lambda text, name=method: f"{name}: {text}"
        )
    engine.close()


def test_on_the_tiny_base(tiny_base: Path, make_adapter: Callable[..., Path], tmp_path: Path) -> None:
    adapters = [make_adapter("one", seed=1), make_adapter("two", seed=2, r=3, use_rslora=True)]
    base = load_base(tiny_base, device="cpu", dtype="float32")
    check_merges(base, adapters, tmp_path / "out", tolerance=2e-5)


@pytest.mark.bundled
def test_on_the_bundled_base(bundled_base: Path, tmp_path: Path) -> None:
    adapters = [
        write_tiny_adapter(bundled_base, tmp_path / str(seed), r=8, seed=seed, scale=0.02, base_id="org/bundled")
        for seed in (1, 2)
    ]
    base = load_base(bundled_base, device="cpu", dtype="float32")
    check_merges(base, adapters, tmp_path / "out", tolerance=2e-3)
