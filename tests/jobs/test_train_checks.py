"""What is cheap to know is told before a training is queued: of the base's layers, the start's kind and its shape."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hub import Registry, Version
from medley.errors import ProblemsError
from medley.jobs import train_spec
from tests.tiny_model import TINY_BASE_ID


@pytest.fixture
def problems_of(registry: Registry, base: Version, sums: Version) -> Callable[..., list[str]]:
    """problems_of(trainer, options, init=…) is what is said of a training on the tiny base; [] where it is accepted."""

    def find(trainer: str, options: dict[str, object], init: str | None = None) -> list[str]:
        registry.update_metadata(sums.id, kind="preference" if trainer in ("reward", "dpo") else "sft")
        try:
            train_spec(registry, trainer, data="sums", name="new", init=init, options=options, base="tiny")
        except ProblemsError as error:
            return list(error.problems)
        return []

    return find


@pytest.fixture
def start(registry: Registry, base: Version, make_adapter: Callable[..., Path]) -> Callable[..., Version]:
    """start(name, …) is a registered LoRA of the tiny base with these settings of peft."""
    return lambda name, **lora: registry.publish("adapter", name, make_adapter(name, **lora), base=TINY_BASE_ID)


LINEARS = "down_proj, gate_proj, up_proj, k_proj, o_proj, q_proj, v_proj"


def test_layers_and_modules_that_the_base_does_not_have(problems_of: Callable[..., list[str]]) -> None:
    options = {"layers": ["0-99"], "targets": ["q_proj", "foo"], "rank_pattern": ["layers.0.self_attn.bar=2"]}
    assert problems_of("sft", options) == [
        f"targets names foo, which this base does not have. Use all-linear, or some of: {LINEARS}.",
        "layers names layer 99, but this base has layers 0 to 1.",
        f"rank_pattern names layers.0.self_attn.bar, which this base does not have. Its linear layers are: {LINEARS}.",
    ]
    assert problems_of("sft", {"adapter": "llama-adapter", "adapter_layers": 3}) == [
        "adapter_layers is 3, but this base has 2 layers."
    ]
    assert problems_of("sft", {"layers": ["0-1"], "targets": ["self_attn.q_proj", "lm_head"]}) == []


def test_a_start_of_a_kind_that_the_trainer_cannot_go_on_from(
    problems_of: Callable[..., list[str]], start: Callable[..., Version]
) -> None:
    start("dora", use_dora=True)
    assert problems_of("ppo", {}, init="dora") == [
        "ppo goes on from adapters of type lora, but dora:v1 is dora. Choose another one."
    ]
    for trainer in ("sft", "reward", "dpo", "grpo"):
        assert problems_of(trainer, {}, init="dora") == []


def test_a_reward_model_that_cannot_share_a_base(
    registry: Registry, problems_of: Callable[..., list[str]], start: Callable[..., Version]
) -> None:
    registry.update_metadata(start("judge", use_dora=True).id, adapter_kind="reward")
    for trainer in ("ppo", "grpo"):
        assert problems_of(trainer, {"reward": ["judge"]}) == [
            "The reward model 'judge' is dora. As a reward it shares the policy's base, which only plain LoRA can. "
            "Train one with: medley train reward"
        ]


def test_a_reward_that_there_is_not(problems_of: Callable[..., list[str]]) -> None:
    """As it comes of --reward matches:a,b."""
    assert problems_of("ppo", {"reward": ["matches:a", "b"]}) == [
        "There is no adapter named 'b'. As a reward it could also be one of sentiment, brevity, length, no-repetition, "
        "json, sentence, matches; a comma parts rewards, but not inside the brackets of a pattern."
    ]


def test_a_shape_beside_a_start_is_refused_where_it_differs(
    problems_of: Callable[..., list[str]], start: Callable[..., Version]
) -> None:
    start("narrow", r=4, lora_alpha=6, target_modules=["q_proj", "v_proj"])
    options = {"rank": 16, "alpha": 6.0, "targets": ["all-linear"], "layers": ["0"]}
    for trainer in ("sft", "reward", "dpo"):
        assert problems_of(trainer, options, init="narrow") == [
            "rank 16 does not apply: training goes on from narrow:v1, which keeps its rank 4. Leave it out, or say 4.",
            "targets all-linear does not apply: training goes on from narrow:v1, which keeps its targets "
            "q_proj,v_proj. Leave it out, or say q_proj,v_proj.",
            "layers 0 does not apply: training goes on from narrow:v1, a lora adapter that has none. Leave it out.",
        ]
    same = {"rank": 4, "alpha": None, "targets": ["v_proj", "q_proj"]}
    assert problems_of("sft", same, init="narrow") == []
    start("whole")
    assert problems_of("sft", {"targets": ["all-linear"]}, init="whole") == []
    assert problems_of("sft", {"adapter": "ia3"}, init="whole") == [
        "adapter ia3 does not apply: training goes on from whole:v1, which keeps its adapter lora. "
        "Leave it out, or say lora."
    ]


def test_a_recipe_says_the_shape_of_the_start(registry: Registry, sums: Version, start: Callable[..., Version]) -> None:
    start("narrow", r=4, lora_alpha=6, lora_dropout=0.1, target_modules=["q_proj"], rank_pattern={"q_proj": 2},
          layers_to_transform=[1], use_rslora=True)  # fmt: skip
    spec = train_spec(registry, "sft", data="sums", name="more", init="narrow")
    shape = ("adapter", "rank", "alpha", "dropout", "targets", "rank_pattern", "layers", "rslora", "init")
    assert {name: spec.params["options"][name] for name in shape} == {
        "adapter": "lora",
        "rank": 4,
        "alpha": 6.0,
        "dropout": 0.1,
        "targets": ["q_proj"],
        "rank_pattern": ["q_proj=2"],
        "layers": ["1"],
        "rslora": True,
        "init": "default",
    }
    ppo = train_spec(registry, "ppo", data="sums", name="more", init="narrow")
    assert ppo.params["options"]["dropout"] == 0.0  # which PPO always has
