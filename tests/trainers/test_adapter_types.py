"""Every kind of adapter: where it starts, that it learns, that the saved one on the same base is the trained one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, set_seed

from medley.errors import ParameterError
from medley.lm.adapter_file import file_sha256, open_adapter
from medley.lm.load import LoadedBase, load_base
from tests.tiny_model import TINY_BASE_ID, write_tiny_base
from trainers import SFTOptions, TrainResult
from trainers.adapter import attach_adapter, save_adapter
from trainers.adapter_starts import count_trainable, olora, pissa
from trainers.ppo_options import PPOOptions

RunSFT = Callable[..., TrainResult]
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4},
    "gaussian": {"rank": 4, "init": "gaussian"},
    "orthogonal": {"rank": 4, "init": "orthogonal"},
    "pissa": {"rank": 4, "init": "pissa", "rslora": True, "rank_pattern": ("q_proj=2",)},
    "olora": {"rank": 4, "init": "olora", "alpha": 6.0, "alpha_pattern": ("v_proj=3",)},
    "layers": {"rank": 4, "layers": ("1",), "rank_pattern": ("up_proj=2",)},
    "dora": {"rank": 4, "adapter": "dora"},
    "ia3": {"adapter": "ia3"},
    "prefix-tuning": {"adapter": "prefix-tuning", "virtual_tokens": 5},
    "prompt-tuning": {"adapter": "prompt-tuning", "virtual_tokens": 5, "prompt_text": "Ahoy matey!"},
    "llama-adapter": {"adapter": "llama-adapter", "adapter_len": 4},
}
IDS = torch.arange(10, 40)[None]
SOFT = ("prefix-tuning", "prompt-tuning")


@pytest.fixture
def base(tiny_base: Path) -> LoadedBase:
    return load_base(tiny_base, device="cpu", dtype="float32")


def plain_base(tiny_base: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()


@torch.no_grad()
def logits_of(model: torch.nn.Module) -> torch.Tensor:
    """(T, V) of the real tokens: what stands in front of them is left out."""
    return model.eval()(input_ids=IDS).logits[0, -IDS.shape[1] :]


def train_by_hand(model: torch.nn.Module, steps: int = 3) -> None:
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], 1e-2, weight_decay=0)
    for _ in range(steps):
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("name", KINDS)
def test_a_fresh_adapter_changes_nothing_or_does_what_its_tokens_do(
    base: LoadedBase, tiny_base: Path, name: str
) -> None:
    set_seed(3)
    options = SFTOptions(**KINDS[name])
    fresh = logits_of(attach_adapter(base.model, options, None, tokenizer=base.tokenizer))
    ids = IDS
    if name in SOFT:  # the same tokens in front of the same text; random ones are drawn in the same way
        set_seed(3)
        if options.prompt_text:
            words = base.tokenizer(options.prompt_text)["input_ids"]
            front = torch.tensor((words * 5)[:5])
        else:
            get_peft_model(plain_base(tiny_base), attach_config(options))  # peft draws its own start first
            front = torch.randint(0, 384, (5,))
        ids = torch.cat([front[None], IDS], dim=1)
    with torch.no_grad():
        expected = plain_base(tiny_base)(input_ids=ids).logits[0, -IDS.shape[1] :]
    torch.testing.assert_close(fresh, expected, atol=2e-5, rtol=1e-4)


def attach_config(options: SFTOptions) -> Any:
    from peft import PrefixTuningConfig

    return PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=options.virtual_tokens)


@pytest.mark.parametrize("name", KINDS)
def test_plain_peft_on_the_original_base_gives_the_trained_logits(
    base: LoadedBase, tiny_base: Path, tmp_path: Path, name: str
) -> None:
    set_seed(0)
    model = attach_adapter(base.model, SFTOptions(**KINDS[name]), None, tokenizer=base.tokenizer)
    before = logits_of(model)
    model.train()
    train_by_hand(model)
    trained = logits_of(model)
    assert (trained - before).abs().max() > 1e-3
    folder = save_adapter(model, tmp_path / "saved", base_id=TINY_BASE_ID, base_revision=None)
    reloaded = PeftModel.from_pretrained(plain_base(tiny_base), str(folder))
    torch.testing.assert_close(logits_of(reloaded), trained, atol=2e-5, rtol=1e-4)
    assert open_adapter(folder).config.kind == KINDS[name].get("adapter", "lora")
    text = (folder / "adapter_config.json").read_text()
    assert str(tiny_base) not in text
    assert json.loads(text)["base_model_name_or_path"] == TINY_BASE_ID


@pytest.mark.parametrize("name", ["dora", "ia3", "prefix-tuning", "prompt-tuning", "llama-adapter", "pissa", "eva"])
def test_it_learns_and_a_resumed_run_is_an_undisturbed_one(run_sft: RunSFT, tiny_base: Path, name: str) -> None:
    before = file_sha256(tiny_base / "model.safetensors")
    shape = {"eva": {"rank": 2, "init": "eva"}, **KINDS}[name]
    rate = {"prefix-tuning": 0.1, "prompt-tuning": 1.0, "ia3": 0.2, "llama-adapter": 0.5}.get(name, 0.02)
    options = SFTOptions(epochs=4, batch_size=4, samples=1, sample_tokens=3, device="cpu", save_every=3, eval_every=4,
                         learning_rate=rate, lr_schedule="constant", **shape)  # fmt: skip
    losses: list[float] = []
    whole = run_sft("whole", options, emit=lambda kind, **fields: losses.append(fields.get("loss", 0.0)))
    losses = [loss for loss in losses if loss]
    assert sum(losses[-2:]) / 2 < sum(losses[:2]) / 2 - 0.005  # the same eight rows; a random base learns slowly
    assert whole.metrics["eval_loss"] < whole.metrics["eval_loss_before"]
    asked = iter(range(100))
    stopped = run_sft("stopped", options, should_stop=lambda: next(asked) == 4)  # after step 5 of 8
    resumed = run_sft("resumed", options, resume_from=stopped.checkpoint)
    names = [result.adapter_dir / "adapter_model.safetensors" for result in (whole, resumed)]
    assert file_sha256(names[0]) == file_sha256(names[1])
    assert file_sha256(tiny_base / "model.safetensors") == before


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_a_held_start_has_the_gradients_of_pefts_own(base: LoadedBase, tiny_base: Path, init: str) -> None:
    """peft takes B0·A0 out of the base, here it is subtracted beside it: the same function of A and B either way."""
    ours = attach_adapter(base.model, SFTOptions(rank=4, init=init), None)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=init)
    theirs = get_peft_model(plain_base(tiny_base), config)
    for model in (ours, theirs):
        model(input_ids=IDS, labels=IDS).loss.backward()
    for (name, mine), (_, other) in zip(lora_weights(ours), lora_weights(theirs), strict=True):
        dim = 0 if "lora_A" in name else 1
        gradient, held = mine.grad.split(4, dim=dim)
        assert held.abs().max() == 0
        # singular vectors are known up to a common sign of both factors
        product = (gradient * other.grad).sum() / other.grad.pow(2).sum()
        torch.testing.assert_close(gradient.abs(), other.grad.abs(), atol=1e-4, rtol=1e-2)
        assert init == "pissa" or product == pytest.approx(1.0, abs=1e-3)


def lora_weights(model: PeftModel) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, each) for name, each in model.named_parameters() if each.requires_grad]


def test_the_starts_by_hand() -> None:
    """W = diag(9, 4) with scale 4: the first value is 9 = 4 · 1.5 · 1.5; QR of a diagonal matrix is that matrix."""
    weight = torch.diag(torch.tensor([9.0, 4.0]))
    b, a = pissa(weight, 1, 4.0)
    torch.testing.assert_close(4.0 * b @ a, torch.diag(torch.tensor([9.0, 0.0])))
    torch.testing.assert_close(a.abs(), torch.tensor([[1.5, 0.0]]))
    b, a = olora(weight, 1, 4.0)
    torch.testing.assert_close(b @ a, torch.diag(torch.tensor([9.0, 0.0])))
    torch.testing.assert_close(a.abs(), torch.tensor([[9.0, 0.0]]))


def test_the_held_half_is_not_counted(base: LoadedBase) -> None:
    model = attach_adapter(base.model, SFTOptions(rank=4, init="pissa", targets=("q_proj",)), None)
    assert count_trainable(model) == 2 * (4 * 32 + 32 * 4)  # two layers, A (4, 32) and B (32, 4)


@pytest.mark.parametrize("name", ["dora", "pissa", "ia3", "prefix-tuning", "prompt-tuning", "llama-adapter"])
def test_every_kind_trains_on_a_four_bit_base(tmp_path: Path, name: str) -> None:
    folder = write_tiny_base(tmp_path / "base", hidden_size=64)
    before = logits_of(load_base(folder, quant="4bit", device="cpu").model)
    loaded = load_base(folder, quant="4bit", device="cpu")
    model = attach_adapter(loaded.model, SFTOptions(**KINDS[name]), None, tokenizer=loaded.tokenizer)
    fresh = logits_of(model)
    if name not in SOFT:
        torch.testing.assert_close(fresh, before, atol=0.05, rtol=0.05)  # the base computes in bf16
    model.train()
    train_by_hand(model, steps=8)
    assert (logits_of(model) - fresh).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["dora", "ia3", "prefix-tuning", "prompt-tuning", "llama-adapter"])
def test_training_goes_on_from_every_kind(base: LoadedBase, tiny_base: Path, tmp_path: Path, name: str) -> None:
    set_seed(0)
    model = attach_adapter(base.model, SFTOptions(**KINDS[name]), None, tokenizer=base.tokenizer)
    train_by_hand(model)
    trained = logits_of(model)
    folder = save_adapter(model, tmp_path / "saved", base_id=TINY_BASE_ID, base_revision=None)
    again = attach_adapter(plain_base(tiny_base), SFTOptions(), folder)
    torch.testing.assert_close(logits_of(again), trained, atol=2e-5, rtol=1e-4)
    assert count_trainable(again) == count_trainable(model) > 0
    train_by_hand(again)
    assert (logits_of(again) - trained).abs().max() > 1e-3


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["lora", "dora", "ia3", "prefix-tuning", "prompt-tuning", "llama-adapter"])
def test_every_kind_trains_on_a_four_bit_base_on_cuda(run_sft: RunSFT, tmp_path: Path, name: str) -> None:
    base_dir = write_tiny_base(tmp_path / "base", hidden_size=64)
    options = SFTOptions(epochs=10, batch_size=4, samples=0, quant="4bit", device="cuda", **KINDS[name])
    result = run_sft("run", options, base_dir=base_dir)
    assert result.trained_on == "nf4"
    assert result.metrics["eval_loss"] < result.metrics["eval_loss_before"]


def test_eva_gives_out_ranks_by_variance_and_is_saved_plain(run_sft: RunSFT) -> None:
    result = run_sft("run", SFTOptions(max_steps=2, batch_size=4, samples=0, rank=2, init="eva", device="cpu"))
    adapter = open_adapter(result.adapter_dir)
    ranks = [module.rank for module in adapter.modules.values()]
    assert sum(ranks) == 2 * 14  # as many as at one rank for all, but elsewhere
    assert len(set(ranks)) > 1
    assert adapter.config.init_lora_weights is True
    assert adapter.config.raw["eva_config"] is None


def test_eva_says_when_there_are_too_few_tokens_for_the_rank(run_sft: RunSFT) -> None:
    with pytest.raises(ParameterError, match=r"^init eva at rank 64 needs 128 trained tokens in every batch, but one"):
        run_sft("run", SFTOptions(max_steps=1, batch_size=1, rank=64, init="eva", samples=0, device="cpu"))


def test_the_rate_that_is_left_open_is_that_of_the_kind(run_sft: RunSFT) -> None:
    rates: list[float] = []

    def emit(kind: str, **fields: Any) -> None:
        rates.extend([fields["learning_rate"]] if "learning_rate" in fields else [])

    options = {"max_steps": 1, "batch_size": 8, "samples": 0, "device": "cpu", "lr_schedule": "constant"}
    run_sft("ia3", SFTOptions(adapter="ia3", warmup_share=0.0, **options), emit=emit)
    run_sft("lora", SFTOptions(warmup_share=0.0, **options), emit=emit)
    assert rates == [5e-3, 2e-4]


def test_a_trainer_of_lora_does_not_go_on_from_another_kind(base: LoadedBase, tmp_path: Path) -> None:
    ia3 = attach_adapter(base.model, SFTOptions(adapter="ia3"), None)
    folder = save_adapter(ia3, tmp_path / "ia3", base_id=TINY_BASE_ID, base_revision=None)
    with pytest.raises(ParameterError) as caught:
        attach_adapter(ia3.unload(), PPOOptions(), folder)
    assert str(caught.value) == ("This trainer goes on from adapters of type lora, but the one to start from is ia3.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ("7",)}, "layers names layer 7, but this base has layers 0 to 1."),
        ({"adapter": "llama-adapter", "adapter_layers": 3}, "adapter_layers is 3, but this base has 2 layers."),
        (
            {"rank": 40, "init": "pissa", "targets": ("q_proj",)},
            "init pissa needs a rank of at most 32, the smaller side of "
            "base_model.model.model.layers.0.self_attn.q_proj, got 40.",
        ),
    ],
)
def test_what_does_not_fit_the_base(base: LoadedBase, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        attach_adapter(base.model, SFTOptions(**options), None)
    assert str(caught.value) == message
