"""Memory and time before the start: the arithmetic by hand on a base of a few numbers, and advice that really fits."""

import dataclasses
from typing import Any

import pytest

from medley.lm.base_facts import BUNDLED_FACTS, BaseFacts, LinearSizes
from medley.lm.load import Device
from trainers import TRAINERS, SFTOptions
from trainers.adapter_sizes import adapter_parameters
from trainers.estimate import Estimate, estimate
from trainers.fit_advice import Advice, advise
from trainers.grpo_options import GRPOOptions
from trainers.ppo_options import PPOOptions
from trainers.step_shape import SHAPES, padded_mean, step_count, step_shape

FACTS = BaseFacts(
    layers=2, hidden=4, intermediate=8, heads=2, kv_heads=1, head_dim=2, vocab=10, parameters=200,
    linears={"q_proj": LinearSizes(2, 4, 4), "down_proj": LinearSizes(2, 8, 4)},
)  # fmt: skip
BF16, FP32 = Device("cpu", "bfloat16"), Device("cpu", "float32")
OVERHEAD = 150_000_000


def sft(**options: object) -> SFTOptions:
    return SFTOptions(**{"batch_size": 2, "rank": 3, "epochs": 1.0, **options})


def test_every_part_by_hand() -> None:
    """2 rows of 5 tokens. Adapter: rank 3 · 2 layers · ((4 + 4) + (8 + 4)) = 120 entries."""
    parts = estimate(FACTS, sft(), "sft", [5, 5], BF16).parts
    assert parts["weights"] == 200 * 2
    assert parts["adapter"] == 120 * 4
    assert parts["optimizer"] == 120 * 8
    assert parts["gradients"] == 0  # the peak is at the end of the forward pass, before the first gradient
    block = 2 * (4 * 4 + 3 * 8) + 2 * 4 * 4  # four attention tensors, three of width 8, two float32 norms
    inputs = 4 * 2 * (4 + 8)  # a float32 copy of every adapted layer's input
    factors = 4 * 3 * 4  # rank 3 in float32, four adapted layers
    assert parts["activations"] == 10 * (2 * block + inputs + factors) + 3 * 2 * 5 * 5
    assert parts["logits"] == 10 * 10 * 37
    assert parts["overhead"] == OVERHEAD


def test_a_float32_base_shares_inputs_instead_of_copying_them() -> None:
    parts = estimate(FACTS, sft(), "sft", [5, 5], FP32).parts
    assert parts["weights"] == 200 * 4
    block = 4 * (4 * 4 + 3 * 8) + 2 * 4 * 4 + 4 * (2 * 4 + 8)
    assert parts["activations"] == 10 * (2 * block + 4 * 3 * 4) + 3 * 2 * 5 * 5


def test_gradients_count_where_they_are_kept_between_passes() -> None:
    kept = estimate(FACTS, sft(gradient_accumulation=2), "sft", [5] * 4, BF16)
    assert kept.parts["gradients"] == 120 * 4
    assert (kept.steps, kept.longest_row) == (1, 5)


@pytest.mark.parametrize(
    ("options", "entries"),
    [
        ({"targets": ("q_proj",)}, 3 * 2 * (4 + 4)),
        ({"layers": ("0",)}, 60),
        ({"rank_pattern": ("q_proj=1",)}, 1 * 2 * (4 + 4) + 3 * 2 * (8 + 4)),
        ({"init": "pissa"}, 240),  # one half is held fast, and saved as its negative
        ({"adapter": "dora"}, 120 + 2 * (4 + 4)),
        ({"adapter": "ia3"}, 2 * (4 + 4)),
        ({"adapter": "prompt-tuning", "virtual_tokens": 5}, 5 * 4),
        ({"adapter": "prefix-tuning", "virtual_tokens": 5}, 5 * 2 * 2 * 1 * 2),
        ({"adapter": "llama-adapter", "adapter_len": 6}, 2 * (6 * 4 + 1)),
    ],
)
def test_the_size_of_each_kind_of_adapter(options: dict[str, object], entries: int) -> None:
    assert adapter_parameters(FACTS, sft(**options)) == entries


def test_a_large_adapter_on_short_rows_peaks_at_the_update() -> None:
    parts = estimate(FACTS, sft(rank=1024), "sft", [1, 1], BF16).parts
    assert (parts["gradients"], parts["activations"], parts["logits"]) == (1024 * 40 * 4, 0, 0)


def test_four_bit_packs_the_linear_layers_only() -> None:
    linear = 2 * (4 * 4 + 8 * 4)
    parts = estimate(FACTS, sft(quant="4bit"), "sft", [5, 5], Device("cpu", "bfloat16", "4bit")).parts
    assert parts["weights"] == round(linear * 4.127 / 8 + (200 - linear) * 2)
    assert parts["overhead"] == OVERHEAD + 100_000_000


def test_rows_are_counted_as_they_are_cut_and_batched() -> None:
    shape = step_shape("sft", sft(max_length=8, group_by_length=False), [4, 20, 6, 2])
    assert (shape.rows, shape.length, shape.logit_tokens, shape.steps) == (2, 8, 16, 2)
    # the longest of two of {2, 4, 6, 8} drawn at random: 2·1/16 + 4·3/16 + 6·5/16 + 8·7/16
    assert shape.mean_length == pytest.approx((2 + 12 + 30 + 56) / 16)
    assert step_shape("sft", sft(max_length=8), [4, 20, 6, 2]).mean_length == 5  # grouped: hardly any padding
    assert padded_mean([7], 5) == 7


@pytest.mark.parametrize(
    ("options", "rows", "steps"),
    [({"epochs": 2.0}, 5, 6), ({"epochs": 0.5}, 8, 2), ({"max_steps": 7}, 5, 7), ({"gradient_accumulation": 2}, 5, 2)],
)
def test_steps(options: dict[str, float], rows: int, steps: int) -> None:
    assert step_count(sft(**options), rows) == steps


def test_both_answers_of_a_pair_are_in_one_pass() -> None:
    pair = step_shape("dpo", sft(), [5, 5], has_init=True)
    assert (pair.rows, pair.logit_tokens, pair.plain_passes, pair.adapters) == (4, 20, 1, 2)
    assert step_shape("dpo", sft(), [5, 5]).adapters == 1  # the base itself is the reference
    assert step_shape("reward", sft(), [5, 5]).logit_tokens == 0


def test_ppo_keeps_the_logits_of_answers_alone_but_whole() -> None:
    """4 answers of 3 tokens to prompts of 5, two at once: logits and their gradient in bf16 over 10 words."""
    options = PPOOptions(batch_size=4, max_new_tokens=3, rows_at_once=2, updates=7, rank=3, value="adapter")
    shape = step_shape("ppo", options, [5, 5, 600])  # the last is left out: longer than max_prompt_length
    assert (shape.rows, shape.length, shape.mean_length, shape.steps) == (2, 8, 8, 7)
    assert shape.forwards == 2 * 1 * 4 * 2  # halves, mini-batches, passes, and the value function has its own
    found = estimate(FACTS, options, "ppo", [5, 5], BF16)
    assert found.parts["logits"] == 2 * 2 * (2 * 3) * 10
    assert found.parts["adapter"] == 2 * 120 * 4


def test_all_answers_of_a_batch_are_written_at_once_and_rewards_are_adapters_too() -> None:
    """128 answers of 512 tokens to prompts of 300, in 30 layers of 3 heads of 64, keys and values in bf16."""
    rewards = {"reward": ("rm", "brevity"), "gold_reward": ("rm",)}
    options = PPOOptions(batch_size=128, max_new_tokens=512, rows_at_once=1, value="adapter", **rewards)
    shape = step_shape("ppo", options, [300])
    assert (shape.rows, shape.written_rows, shape.adapters) == (1, 128, 3)  # policy, value, reward
    found = estimate(BUNDLED_FACTS, options, "ppo", [300], BF16)
    assert found.parts["cache"] == 128 * 812 * 2 * 30 * 3 * 64 * 2
    answers = GRPOOptions(batch_size=8, gradient_accumulation=3, reward=("rm=2", "rm2"))
    grpo = step_shape("grpo", answers, [300], has_init=True)
    assert (grpo.rows, grpo.written_rows, grpo.new_tokens, grpo.adapters) == (8, 24, 64, 4)


def test_where_the_cache_is_too_large_the_batch_is_halved() -> None:
    options = PPOOptions(batch_size=128, max_new_tokens=512, quant="4bit", gradient_checkpointing=True)

    def ppo(changed: PPOOptions) -> Estimate:
        return estimate(BUNDLED_FACTS, changed, "ppo", [300], BF16)

    least = ppo(dataclasses.replace(options, rows_at_once=1)).total_bytes
    [found] = advise(ppo, options, least - 1)
    assert found.changes == {"batch_size": 64, "rows_at_once": 1}


def test_every_trainer_has_a_shape() -> None:
    assert set(TRAINERS) <= set(SHAPES)


# Measured on the bundled base, two threads, peak resident size less that after imports (benchmarks/memory.py).
MEASURED_MB: list[tuple[str, dict[str, Any], int, int]] = [
    ("sft", {"batch_size": 2}, 64, 795),
    ("sft", {"batch_size": 8}, 64, 1727),
    ("sft", {"batch_size": 4}, 256, 2950),
    ("sft", {"batch_size": 1}, 512, 1732),
    ("sft", {"batch_size": 2, "gradient_checkpointing": True}, 256, 1214),
    ("sft", {"batch_size": 4, "gradient_checkpointing": True}, 256, 2268),
    ("sft", {"batch_size": 2, "quant": "4bit"}, 64, 736),
    ("sft", {"batch_size": 2, "rank": 128}, 64, 1212),
    ("sft", {"batch_size": 2, "dropout": 0.1}, 256, 2290),
    ("sft", {"batch_size": 2, "adapter": "dora"}, 256, 2432),
    ("sft", {"batch_size": 2, "adapter": "ia3"}, 256, 1573),
    ("reward", {"batch_size": 2}, 128, 1183),
    ("reward", {"batch_size": 4}, 256, 3620),
    ("reward", {"batch_size": 4, "gradient_checkpointing": True}, 256, 1755),
    ("dpo", {"batch_size": 2}, 128, 1782),
    ("dpo", {"batch_size": 2}, 256, 3077),
    ("dpo", {"batch_size": 2, "gradient_checkpointing": True}, 256, 2034),
    ("kto", {"batch_size": 4}, 128, 1742),
    ("grpo", {"batch_size": 8}, 64, 3118),
    ("grpo", {"batch_size": 16}, 64, 5781),
    ("ppo", {"batch_size": 8, "max_new_tokens": 32, "ppo_epochs": 2, "value": "adapter"}, 64, 1727),
    ("ppo", {"batch_size": 16, "max_new_tokens": 64, "ppo_epochs": 2, "value": "adapter"}, 64, 3949),
    ("ppo", {"batch_size": 16, "max_new_tokens": 64, "ppo_epochs": 2, "value": "head"}, 64, 3959),
]


@pytest.mark.parametrize(("trainer", "options", "length", "measured"), MEASURED_MB)
def test_the_estimate_is_within_a_quarter_of_what_was_measured(
    trainer: str, options: dict[str, Any], length: int, measured: int
) -> None:
    device = Device("cpu", "bfloat16", options.get("quant"))
    chosen = TRAINERS[trainer].options_class(**options)
    found = estimate(BUNDLED_FACTS, chosen, trainer, [length] * 32, device)
    assert found.total_bytes / 1e6 == pytest.approx(measured, rel=0.25)


def test_time_is_a_range_with_its_basis_and_unknown_on_a_gpu() -> None:
    once = estimate(BUNDLED_FACTS, sft(max_steps=1), "sft", [100, 100], BF16, cores=2)
    ten = estimate(BUNDLED_FACTS, sft(max_steps=10), "sft", [100, 100], BF16, cores=2)
    assert once.seconds is not None
    assert ten.seconds == pytest.approx((10 * once.seconds[0], 10 * once.seconds[1]))
    assert once.seconds[1] == pytest.approx(4 * once.seconds[0])
    # 200 tokens; forward 2 · 106,168,320 + 2 · 30 · 576 · 100, twice; the output layer 2 · 49,152 · 576, three times
    operations = 200 * (2 * (2 * 106_168_320 + 2 * 30 * 576 * 100) + 3 * 2 * 49_152 * 576)
    assert once.seconds[0] == pytest.approx(operations / (2 * 70e9) / 2)
    assert once.basis.startswith("0.1 TFLOP at 70 GFLOP/s for each of 2 cores")
    gpu = estimate(BUNDLED_FACTS, sft(), "sft", [100], Device("cuda", "bfloat16"))
    assert gpu.seconds is None
    assert "first steps" in gpu.basis


def of(options: SFTOptions) -> Estimate:
    return estimate(BUNDLED_FACTS, options, "sft", [1000] * 16, BF16)


def test_advice_fits_and_says_what_it_would_take() -> None:
    options = SFTOptions(batch_size=4)
    limit = 0.8 * of(options).total_bytes
    found = advise(of, options, limit)
    assert [list(each.changes.items()) for each in found] == [
        [("batch_size", 2), ("gradient_accumulation", 2)],
        [("max_length", 512)],
        [("gradient_checkpointing", True)],
    ]  # packing 134 million weights does not help where activations are the most of it
    for each in found:
        assert each.total_bytes == of(dataclasses.replace(options, **each.changes)).total_bytes <= limit


def test_where_nothing_alone_helps_everything_at_once_is_tried() -> None:
    options = SFTOptions(batch_size=4, rank=64)
    everything = {
        "batch_size": 1, "gradient_accumulation": 4, "max_length": 64, "quant": "4bit", "gradient_checkpointing": True,
    }  # fmt: skip
    least = of(dataclasses.replace(options, **everything)).total_bytes
    assert advise(of, options, least) == [Advice(everything, least)]
    assert advise(of, options, least - 1) == []


def test_no_four_bit_where_the_device_has_none() -> None:
    assert not any("quant" in each.changes for each in advise(of, SFTOptions(batch_size=1), 1e9, has_nf4=False))


def test_ppo_reads_fewer_answers_at_once() -> None:
    def ppo(options: PPOOptions) -> Estimate:
        return estimate(BUNDLED_FACTS, options, "ppo", [100] * 16, BF16)

    options = PPOOptions(batch_size=6)
    found = advise(ppo, options, 0.8 * ppo(options).total_bytes)
    assert [dict(each.changes) for each in found] == [{"rows_at_once": 3}, {"gradient_checkpointing": True}]
