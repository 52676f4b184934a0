"""The engine's numbers are those of transformers and peft, for every row, whoever its neighbours are."""

import copy
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from medley.errors import ParameterError
from medley.lm.adapter_file import open_adapter
from medley.lm.adapter_tensors import iterate_scaled_factors
from medley.lm.engine import Engine, Pane, Sampling
from medley.lm.load import LoadedBase
from medley.lm.prompts import prompt_ids

SHORT = ({"role": "user", "content": "Ahoy"},)
LONG = (
    {"role": "system", "content": "Answer in one short sentence."},
    {"role": "user", "content": "what is the capital of France?"},
)
GREEDY = Sampling(max_new_tokens=24)


def peft_model(base: LoadedBase, adapter: Path) -> PeftModel:
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.folder), adapter).eval()


def transformers_answer(model: torch.nn.Module, base: LoadedBase, messages: tuple) -> str:
    ids = torch.tensor([prompt_ids(base.tokenizer, messages)])
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=GREEDY.max_new_tokens
        )
    return base.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).rstrip("\ufffd")


def folded(base: LoadedBase, adapters: Mapping[Path, float]) -> torch.nn.Module:
    """A copy of the base with the weighted deltas added to its weights."""
    model = copy.deepcopy(base.model)
    for folder, weight in adapters.items():
        for name, (b, a) in iterate_scaled_factors(open_adapter(folder)):
            model.get_submodule(name).weight += weight * (b @ a)
    return model


def plain_logits(model: torch.nn.Module, base: LoadedBase, messages: tuple) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.tensor([prompt_ids(base.tokenizer, messages)])).logits[0]


def test_the_base_answers_as_transformers_generate(loaded_tiny: LoadedBase) -> None:
    answers = Engine(loaded_tiny).generate([Pane(SHORT), Pane(LONG)], GREEDY)  # the first is padded on the left
    assert [answer.text for answer in answers] == [
        transformers_answer(loaded_tiny.model, loaded_tiny, messages) for messages in (SHORT, LONG)
    ]
    assert all(answer.new_tokens >= 20 for answer in answers)  # long enough to mean something


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 4},
        {"r": 4, "use_rslora": True, "lora_alpha": 12},
        {"r": 4, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.mlp.up_proj": 1}},
        {"r": 2, "target_modules": ["v_proj", "up_proj"]},
    ],
    ids=["all-linear", "rslora", "patterns", "few-modules"],
)
def test_an_adapter_answers_as_peft(loaded_tiny: LoadedBase, make_adapter: Callable[..., Path], settings: dict) -> None:
    folder = make_adapter("one", **settings)
    engine = Engine(loaded_tiny)
    engine.add("one", folder)
    expected = peft_model(loaded_tiny, folder)
    for messages in (SHORT, LONG):
        torch.testing.assert_close(
            engine.logits(messages, {"one": 1.0}), plain_logits(expected, loaded_tiny, messages), atol=2e-5, rtol=1e-4
        )
    answers = engine.generate([Pane(LONG, {"one": 1.0}), Pane(SHORT), Pane(SHORT, {"one": 1.0})], GREEDY)
    assert answers[0].text == transformers_answer(expected, loaded_tiny, LONG)
    assert answers[1].text == transformers_answer(loaded_tiny.model, loaded_tiny, SHORT)
    assert answers[2].text == transformers_answer(expected, loaded_tiny, SHORT)
    assert answers[1].text != answers[2].text


@pytest.mark.parametrize("weights", [(0.5, 0.5), (1.0, -0.7), (0.0, 2.0)])
def test_a_blend_is_the_weighted_sum_of_deltas(
    engine: Engine, loaded_tiny: LoadedBase, tmp_path: Path, weights: tuple[float, float]
) -> None:
    expected = folded(loaded_tiny, {tmp_path / "a": weights[0], tmp_path / "b": weights[1]})
    blend = {"a": weights[0], "b": weights[1]}
    torch.testing.assert_close(
        engine.logits(LONG, blend), plain_logits(expected, loaded_tiny, LONG), atol=2e-5, rtol=1e-4
    )


def test_modules_may_have_weights_of_their_own(engine: Engine, loaded_tiny: LoadedBase, tmp_path: Path) -> None:
    """A module that is not named stays as the base has it; a neighbour's plain weights are not disturbed."""
    query, up = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj"
    blend = {"a": {query: 0.5, up: -2.0}, "b": 0.3}
    expected = folded(loaded_tiny, {tmp_path / "b": 0.3})
    for name, (b, a) in iterate_scaled_factors(open_adapter(tmp_path / "a")):
        expected.get_submodule(name).weight += {query: 0.5, up: -2.0}.get(name, 0.0) * (b @ a)
    torch.testing.assert_close(
        engine.logits(LONG, blend), plain_logits(expected, loaded_tiny, LONG), atol=2e-5, rtol=1e-4
    )
    panes = [Pane(LONG, blend), Pane(SHORT, {"a": 1.0}), Pane(LONG, {"a": {up: 0.0}})]
    together = engine.generate(panes, GREEDY)
    assert [answer.text for answer in together] == [engine.generate([pane], GREEDY)[0].text for pane in panes]
    assert together[0].text == transformers_answer(expected, loaded_tiny, LONG)
    assert [dict(answer.blend) for answer in together] == [blend, {"a": 1.0}, {}]
    with pytest.raises(ParameterError, match="A weight must be a finite number, got nan for a"):
        engine.logits(LONG, {"a": {up: float("nan")}})


def test_an_empty_blend_is_the_bare_base_bit_for_bit(engine: Engine, loaded_tiny: LoadedBase) -> None:
    bare = plain_logits(loaded_tiny.model, loaded_tiny, LONG)
    before = {name: value.clone() for name, value in loaded_tiny.model.state_dict().items()}
    engine.generate([Pane(LONG, {"a": 1.0}), Pane(SHORT, {"b": -1.0})], GREEDY)
    for blend in ({}, {"a": 0.0, "b": 0}):
        assert torch.equal(engine.logits(LONG, blend), bare)
    assert not torch.equal(engine.logits(LONG, {"a": 1e-3}), bare)
    assert all(torch.equal(value, before[name]) for name, value in loaded_tiny.model.state_dict().items())


def test_logits_take_token_ids_too(engine: Engine, loaded_tiny: LoadedBase) -> None:
    ids = prompt_ids(loaded_tiny.tokenizer, LONG)
    assert torch.equal(engine.logits(ids, {"a": 1.0}), engine.logits(LONG, {"a": 1.0}))
    assert engine.logits(ids, {}).shape == (len(ids), 384)


@pytest.mark.parametrize(
    "sampling",
    [GREEDY, Sampling(max_new_tokens=24, temperature=1.0, top_p=0.95, repetition_penalty=1.2, seed=7)],
    ids=["greedy", "sampled"],
)
def test_an_answer_depends_neither_on_neighbours_nor_on_its_place(engine: Engine, sampling: Sampling) -> None:
    panes = [
        Pane(SHORT, {"a": 1.0}),
        Pane(LONG, {"b": 0.8, "a": -0.2}),
        Pane(LONG),
        Pane(SHORT, {"b": 3.0}),
    ]
    # rows must end at different steps, so that the batch shrinks while others go on
    text_ids = engine.base.tokenizer("e a", add_special_tokens=False)["input_ids"]
    engine.end_ids = frozenset({*engine.end_ids, *text_ids, *range(200, 230)})
    alone = [engine.generate([pane], sampling)[0] for pane in panes]
    assert len({answer.new_tokens for answer in alone}) > 1
    for order in itertools.permutations(range(4)):
        together = engine.generate([panes[index] for index in order], sampling)
        for place, index in enumerate(order):
            assert (together[place].text, together[place].new_tokens) == (alone[index].text, alone[index].new_tokens)


def test_another_seed_is_another_answer_and_the_same_seed_the_same(engine: Engine) -> None:
    answers = [
        engine.generate([Pane(LONG, {"a": 1.0})], Sampling(max_new_tokens=24, temperature=1.0, seed=seed))[0].text
        for seed in (1, 1, 2)
    ]
    assert answers[0] == answers[1] != answers[2]


def test_moving_a_slider_back_and_forth_leaves_no_trace(engine: Engine) -> None:
    first = engine.logits(LONG, {"a": 0.3, "b": 0.7})
    engine.logits(LONG, {"a": 0.9, "b": 0.1})
    engine.generate([Pane(SHORT, {"b": 1.0})], GREEDY)
    assert torch.equal(engine.logits(LONG, {"a": 0.3, "b": 0.7}), first)


def test_a_removed_adapter_has_no_effect_left(engine: Engine, loaded_tiny: LoadedBase) -> None:
    engine.logits(LONG, {"a": 1.0})
    engine.remove("a")
    engine.remove("never there")
    assert engine.keys == ("b",)
    assert torch.equal(engine.logits(LONG, {}), plain_logits(loaded_tiny.model, loaded_tiny, LONG))


def test_a_reloaded_key_takes_the_new_content_only_after_removal(
    engine: Engine, make_adapter: Callable[..., Path]
) -> None:
    before = engine.logits(LONG, {"a": 1.0})
    other = make_adapter("other", r=4, seed=9)
    engine.add("a", other)  # a key names a content: nothing happens
    assert torch.equal(engine.logits(LONG, {"a": 1.0}), before)
    engine.remove("a")
    engine.add("a", other)
    assert not torch.equal(engine.logits(LONG, {"a": 1.0}), before)
