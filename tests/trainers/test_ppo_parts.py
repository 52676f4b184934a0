"""The parts of PPO that touch a model: log-probabilities, voices on one base, rewards by adapters, rollouts."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medley.errors import DatasetError, IncompatibleError
from medley.lm.load import LoadedBase, load_base
from medley.lm.prompts import end_token_ids
from tests.tiny_model import TINY_BASE_ID, write_tiny_base
from trainers.adapter import attach_adapter
from trainers.ppo_options import PPOOptions
from trainers.ppo_passes import say
from trainers.ppo_reward import RewardModel
from trainers.ppo_rollout import Prompt, Rollout, prompts_of_update, read_prompts, write_answers
from trainers.ppo_voices import SharedBase, frozen_copy
from trainers.token_logps import chosen_logps
from trainers.work import TrainWork

PROMPTS = [Prompt(list(range(10, 10 + length)), "Hello") for length in (5, 9, 3)]


@pytest.fixture
def loaded(tiny_base: Path) -> LoadedBase:
    return load_base(tiny_base, device="cpu", dtype="float32")


@pytest.fixture
def make_reward_adapter(tiny_base: Path, tmp_path: Path) -> Callable[..., Path]:
    """make_reward_adapter(name) writes a sequence classifier's LoRA with its score head, by plain peft."""
    return lambda name, **settings: write_reward_adapter(tiny_base, tmp_path / name, **settings)


def write_reward_adapter(base: Path, folder: Path, seed: int = 0) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    config = LoraConfig(task_type="SEQ_CLS", r=3, target_modules="all-linear", modules_to_save=["score"])
    model = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                size = 1.0 if "score" in name else 0.2
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * size)
    model.peft_config["default"].base_model_name_or_path = TINY_BASE_ID
    model.save_pretrained(folder)
    return folder


def write(base: SharedBase, loaded: LoadedBase, **settings: Any) -> Rollout:
    ends = end_token_ids(loaded.tokenizer)
    arguments = {"max_new_tokens": 6, "temperature": 0.7, "generator": torch.Generator().manual_seed(3), **settings}
    return write_answers(base, loaded.tokenizer, PROMPTS, arguments.pop("end_ids", ends), **arguments)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_chosen_logps_and_their_gradients_are_those_of_log_softmax(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(150, 11, generator=generator, dtype=torch.float64).float().requires_grad_()
    chosen = torch.randint(0, 11, (150,), generator=generator)
    weights = torch.randn(2, 150, generator=generator)
    plain = logits.detach().clone().requires_grad_()
    logs = (plain / temperature).log_softmax(-1)
    expected = [logs.gather(1, chosen[:, None])[:, 0], -(logs.exp() * logs).sum(-1)]
    got = chosen_logps(logits, chosen, temperature=temperature, has_entropy=True)
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs)
    (got[0] * weights[0] + got[1] * weights[1]).sum().backward()
    (expected[0] * weights[0] + expected[1] * weights[1]).sum().backward()
    torch.testing.assert_close(logits.grad, plain.grad)
    assert chosen_logps(logits, chosen, temperature=temperature)[1].abs().sum() == 0


def test_the_policy_speaks_as_plain_peft_does_with_the_same_gradients(
    loaded: LoadedBase, make_adapter: Callable[..., Path]
) -> None:
    model = attach_adapter(loaded.model, PPOOptions(), make_adapter("start", r=3))
    ids = torch.arange(10, 30)[None]
    expected = model(ids).logits
    expected.square().sum().backward()
    by_peft = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.requires_grad}
    model.zero_grad(set_to_none=True)

    base = SharedBase(model)
    with base.speaking(base.policy):
        logits = base.lm(ids).logits
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
        logits.square().sum().backward()
    ours = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(by_peft) == 2 * 2 * 7  # two layers, seven linear modules, two factors
    assert ours.keys() == by_peft.keys()
    for name in by_peft:
        torch.testing.assert_close(ours[name], by_peft[name], atol=1e-4, rtol=1e-4)


def test_gradients_through_a_four_bit_base_are_those_of_its_numbers(tmp_path: Path) -> None:
    """Also after a pass without gradients, in which bitsandbytes would pack the weights for reading only."""
    import bitsandbytes

    folder = write_tiny_base(tmp_path / "base", hidden_size=64)
    ids, gradients = torch.arange(10, 30)[None].repeat(2, 1), []
    for is_plain in (True, False):
        model = load_base(folder, device="cpu", dtype="float32", quant="4bit").model
        for name, layer in list(model.named_modules()) if is_plain else ():
            if isinstance(layer, bitsandbytes.nn.Linear4bit):
                weight = bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
                plain = torch.nn.Linear(*reversed(weight.shape), bias=False)
                plain.weight = torch.nn.Parameter(weight.float(), requires_grad=False)
                model.set_submodule(name, plain)
        torch.manual_seed(0)
        base = SharedBase(attach_adapter(model, PPOOptions(rank=2, targets=("q_proj", "up_proj")), None))
        with base.speaking(base.policy):
            with torch.no_grad():
                base.lm(ids)
            base.lm(ids).logits.square().sum().backward()
        gradients.append({name: factors.b.grad for name, factors in base.policy.items()})
    plain, quantised = gradients
    assert len(plain) == 4
    for name in plain:
        assert (quantised[name] - plain[name]).norm() < 0.02 * plain[name].norm()


def test_voices_do_not_hear_each_other(loaded: LoadedBase, make_adapter: Callable[..., Path]) -> None:
    ids = torch.arange(10, 30)[None]
    bare = loaded.model(ids).logits
    base = SharedBase(attach_adapter(loaded.model, PPOOptions(), make_adapter("start")))
    reference = frozen_copy(base.policy, torch.float32)
    with torch.no_grad():
        with base.speaking(base.policy):
            before = base.lm(ids).logits
        for factors in base.policy.values():
            factors.b.mul_(2)
        with base.speaking(reference):
            torch.testing.assert_close(base.lm(ids).logits, before, atol=0, rtol=0)
        with base.speaking(base.policy):
            assert (base.lm(ids).logits - before).abs().max() > 1e-3
        with base.speaking(None):
            torch.testing.assert_close(base.lm(ids).logits, bare, atol=0, rtol=0)


def test_dora_cannot_be_a_voice(loaded: LoadedBase, make_adapter: Callable[..., Path]) -> None:
    from peft import PeftModel

    model = PeftModel.from_pretrained(loaded.model, str(make_adapter("dora", use_dora=True)), is_trainable=True)
    with pytest.raises(IncompatibleError, match=r"^PPO trains plain LoRA adapters only, and model\.layers\.0"):
        SharedBase(model)


def test_written_answers_are_padded_and_end_at_the_first_end(loaded: LoadedBase) -> None:
    base = SharedBase(attach_adapter(loaded.model, PPOOptions(), None))
    ends = frozenset(range(200, 384))  # about half of all words, so that answers end early
    rollout = write(base, loaded, end_ids=ends, max_new_tokens=12)
    assert rollout.prompt_columns == 9
    for row, prompt in enumerate(PROMPTS):
        ids = rollout.ids_NS[row][rollout.is_token_NS[row]].tolist()
        assert ids[: len(prompt.ids)] == prompt.ids
        answer = ids[len(prompt.ids) :]
        assert len(answer) == int(rollout.is_valid_NR[row].sum())
        assert [token in ends for token in answer] == [False] * (len(answer) - 1) + [bool(rollout.has_end_N[row])]
    lengths = rollout.is_valid_NR.sum(dim=1)
    assert rollout.has_end_N.any()
    assert len(set(lengths.tolist())) > 1  # some rows went on after others had ended


def test_tokens_are_drawn_from_what_the_policy_says(loaded: LoadedBase, make_adapter: Callable[..., Path]) -> None:
    """Near temperature 0 every token is the likeliest one, by a forward pass over the whole answer."""
    base = SharedBase(attach_adapter(loaded.model, PPOOptions(), make_adapter("start")))
    rollout = write(base, loaded, temperature=1e-4)
    with base.speaking(base.policy), torch.no_grad():
        logps = say(base, rollout, temperature=1e-4).logps_NR
    assert logps[rollout.is_valid_NR].abs().max() < 1e-2


def test_padding_does_not_change_what_is_said(loaded: LoadedBase, make_adapter: Callable[..., Path]) -> None:
    base = SharedBase(attach_adapter(loaded.model, PPOOptions(), make_adapter("start")))
    rollout = write(base, loaded)
    with base.speaking(base.policy), torch.no_grad():
        together = say(base, rollout, temperature=0.7, has_entropy=True)
        for row in range(len(PROMPTS)):
            alone = say(base, rollout.rows(torch.tensor([row])), temperature=0.7, has_entropy=True)
            is_valid = rollout.is_valid_NR[row]
            for name in ("logps_NR", "entropy_NR", "hidden_NRH"):
                torch.testing.assert_close(
                    getattr(alone, name)[0][is_valid], getattr(together, name)[row][is_valid], atol=1e-5, rtol=1e-4
                )


def test_a_reward_adapter_scores_as_the_sequence_classifier_does(
    loaded: LoadedBase, tiny_base: Path, make_reward_adapter: Callable[..., Path]
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    folder = make_reward_adapter("judge")
    base = SharedBase(attach_adapter(loaded.model, PPOOptions(targets=("q_proj",)), None))
    rollout = write(base, loaded, end_ids=frozenset(range(200, 384)))
    passes: list[int] = []
    trunk = base.lm.get_decoder()
    counter = trunk.register_forward_hook(lambda module, inputs, output: passes.append(len(output[0])))
    scores = RewardModel(folder, base, rows_at_once=2).score(rollout)
    counter.remove()
    assert passes == [2, len(PROMPTS) - 2]
    torch.testing.assert_close(RewardModel(folder, base).score(rollout), scores, atol=1e-5, rtol=1e-5)

    classifier = AutoModelForSequenceClassification.from_pretrained(tiny_base, num_labels=1, dtype=torch.float32)
    classifier = PeftModel.from_pretrained(classifier, str(folder)).eval()
    for row in range(len(PROMPTS)):
        ids = rollout.ids_NS[row][rollout.is_token_NS[row]][None]
        with torch.no_grad():
            expected = classifier(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, 0]
        torch.testing.assert_close(scores[row], expected, atol=1e-4, rtol=1e-4)
    assert scores.std() > 1e-3


def test_an_adapter_without_a_score_head_is_no_reward(loaded: LoadedBase, make_adapter: Callable[..., Path]) -> None:
    base = SharedBase(attach_adapter(loaded.model, PPOOptions(), None))
    with pytest.raises(IncompatibleError) as caught:
        RewardModel(make_adapter("plain"), base)
    assert str(caught.value) == (
        "plain is no reward adapter: it has no score head. Train one with `medley train reward`."
    )


def test_prompts_come_in_shuffled_passes_that_need_no_memory() -> None:
    first, second = ([prompts_of_update(5, 3, update, seed=1) for update in range(10)] for _ in range(2))
    assert first == second
    places = [place for update in first for place in update]
    assert all(sorted(places[start : start + 5]) == [0, 1, 2, 3, 4] for start in range(0, 30, 5))
    assert places[:5] != places[5:10]
    assert [prompts_of_update(5, 3, update, seed=2) for update in range(10)] != first


def test_long_prompts_are_left_out_aloud(loaded: LoadedBase, tmp_path: Path) -> None:
    rows = [{"prompt": [{"role": "user", "content": "word " * length}]} for length in (1, 2, 50)]
    events: list[dict[str, Any]] = []
    work = TrainWork(tmp_path, "x/y", tmp_path, tmp_path, emit=lambda kind, **fields: events.append(fields))
    kept = read_prompts(copy.deepcopy(rows), loaded.tokenizer, 60, work)
    assert [prompt.text for prompt in kept] == ["word " * 1, "word " * 2]
    assert events == [
        {"text": "1 of 3 prompts have more than 60 tokens and are left out. Raise max_prompt_length to use them."}
    ]
    with pytest.raises(DatasetError, match=r"^Nothing is left to answer: all 3 prompts have more than 5 tokens\."):
        read_prompts(rows, loaded.tokenizer, 5, work)
