"""The score of a text: read at its true last token, by a head in float32, whatever stands beside it in the batch."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medley.errors import BaseModelError, IncompatibleError
from medley.lm.engine import Engine
from medley.lm.load import load_base, load_score_base
from medley.lm.score_head import ScoreHead, padding_token
from medley.lm.score_model import ScoreModel

ROWS = [[5, 9, 30, 2], [40, 41, 42, 43, 44, 45, 46, 2], [7, 2], [60, 61, 62, 63, 64, 2]]


@pytest.fixture(scope="module")
def padded_with_its_end(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base as SmolLM2 is: it pads with the token that ends an answer."""
    folder = Path(shutil.copytree(tiny_base, tmp_path_factory.mktemp("pads") / "base"))
    for name, key, value in (("tokenizer_config.json", "pad_token", "<|im_end|>"), ("config.json", "pad_token_id", 2)):
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**settings, key: value}))
    return folder


def opened(base: Path, adapter: Path) -> ScoreModel:
    return ScoreModel(load_score_base(base, device="cpu", dtype="float32"), adapter)


def test_the_score_is_the_head_times_the_last_token_s_state(
    padded_with_its_end: Path, make_reward: Callable[..., Path]
) -> None:
    """Also where padding would hide that token: the last one here is <|im_end|>, which this base pads with."""
    model = opened(padded_with_its_end, make_reward("judge", seed=1))
    assert (model.base.tokenizer.pad_token, model.base.tokenizer.pad_token_id) == ("<|endoftext|>", 0)
    inner = model.model.base_model.model
    head = inner.score.modules_to_save["default"]
    assert isinstance(head, ScoreHead)
    for row, score in zip(ROWS, model.score(ROWS, batch_size=4), strict=True):
        with torch.no_grad():
            states_TH = inner.model(torch.tensor([row])).last_hidden_state[0]
        assert score == pytest.approx(float(states_TH[-1] @ head.weight[0]), abs=1e-5)
        assert score != pytest.approx(float(states_TH[-2] @ head.weight[0]), abs=1e-3)


def test_a_score_depends_on_its_text_alone(padded_with_its_end: Path, make_reward: Callable[..., Path]) -> None:
    model = opened(padded_with_its_end, make_reward("judge", seed=1))
    alone = [model.score([row])[0] for row in ROWS]
    assert len({round(score, 3) for score in alone}) == len(ROWS)
    for batch_size in (1, 2, 3, 8):
        assert model.score(ROWS, batch_size=batch_size) == pytest.approx(alone, abs=1e-5)
    assert model.score(ROWS[::-1]) == pytest.approx(alone[::-1], abs=1e-5)
    assert model.score([]) == []


def test_in_bf16_the_head_stays_float32(tiny_base: Path, make_reward: Callable[..., Path]) -> None:
    """bf16 has 8 bits: scores near 1 would differ by 0.004 or not at all."""
    model = ScoreModel(load_score_base(tiny_base, device="cpu", dtype="bfloat16"), make_reward("judge", seed=1))
    with torch.no_grad():
        logits = model.model(input_ids=torch.tensor([ROWS[0]])).logits
    assert logits.dtype == torch.float32
    assert float(logits) != float(logits.to(torch.bfloat16))


def test_only_the_head_is_new(tiny_base: Path) -> None:
    scoring, writing = load_score_base(tiny_base, device="cpu"), load_base(tiny_base, device="cpu")
    assert not scoring.model.score.weight.any()
    assert not any(parameter.requires_grad for parameter in scoring.model.parameters())
    for name, weight in scoring.model.model.state_dict().items():
        assert torch.equal(weight, writing.model.model.state_dict()[name])


def test_an_adapter_that_writes_cannot_score(tiny_base: Path, make_adapter: Callable[..., Path]) -> None:
    folder = make_adapter("writer")
    with pytest.raises(IncompatibleError) as caught:
        opened(tiny_base, folder)
    assert str(caught.value) == (
        f"The adapter in {folder} is not a reward model: it has no score head. Train one with: medley train reward"
    )


def test_it_cannot_answer_in_a_pane(tiny_base: Path, make_reward: Callable[..., Path]) -> None:
    engine = Engine(load_base(tiny_base, device="cpu"))
    folder = make_reward("judge")
    with pytest.raises(IncompatibleError) as caught:
        engine.add("judge", folder)
    assert str(caught.value) == (
        f"The adapter in {folder} is a reward model: it scores answers and writes none; use medley score."
    )


def test_a_reward_model_of_another_base_is_refused(tmp_path: Path, make_reward: Callable[..., Path]) -> None:
    from tests.tiny_model import write_tiny_base

    with pytest.raises(IncompatibleError, match="was made for another base: the shape of 14 modules differs"):
        opened(write_tiny_base(tmp_path / "wide", hidden_size=64), make_reward("judge"))


def test_a_tokenizer_without_a_token_to_pad_with() -> None:
    class OnlyEnd:
        """A tokenizer with one special token, the end."""

        pad_token_id = eos_token_id = 2
        pad_token, chat_template, added_tokens_decoder = "<|im_end|>", None, {}

    with pytest.raises(BaseModelError, match=r"^The base's tokenizer has no special token but the one that ends an"):
        padding_token(OnlyEnd())
