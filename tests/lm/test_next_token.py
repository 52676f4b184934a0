"""The choice of a token, against arithmetic by hand and against transformers' own processors."""

import math

import pytest
import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from medley.errors import ProblemsError
from medley.lm.next_token import Sampler, draw, penalise
from medley.lm.sampling import Sampling
from medley.options import from_mapping

# probabilities 0.5, 0.3, 0.15, 0.05 for words 2, 0, 3, 1
ODDS = torch.tensor([[0.3, 0.05, 0.5, 0.15]]).log()


def unseen(rows: int, words: int) -> torch.Tensor:
    return torch.zeros(rows, words, dtype=torch.bool)


def words_at(luck: list[float], **settings: float) -> list[int]:
    options = Sampling(temperature=settings.pop("temperature", 1.0), **settings)
    return draw(ODDS.repeat(len(luck), 1), torch.tensor(luck, dtype=torch.float64), options).tolist()


def test_luck_walks_through_the_words_in_their_own_order() -> None:
    # without top_k and top_p the words keep their order: 0 up to 0.3, 1 up to 0.35, 2 up to 0.85, 3 to the end
    assert words_at([0.0, 0.29, 0.31, 0.36, 0.84, 0.86, 0.999999]) == [0, 0, 1, 2, 2, 3, 3]


def test_top_k_keeps_the_likeliest_and_shares_out_the_rest() -> None:
    # 2 and 0 remain with 0.5/0.8 = 0.625 and 0.375
    assert words_at([0.0, 0.62, 0.63, 0.999999], top_k=2) == [2, 2, 0, 0]
    assert words_at([0.0, 0.5, 0.999999], top_k=1) == [2, 2, 2]


def test_top_p_keeps_the_word_that_reaches_the_share() -> None:
    # 0.5 is below 0.6, so the next word still counts: 2 and 0 remain
    assert words_at([0.0, 0.62, 0.63, 0.999999], top_p=0.6) == [2, 2, 0, 0]
    assert words_at([0.0, 0.999999], top_p=0.4) == [2, 2]


def test_temperature_sharpens() -> None:
    # at temperature 0.5 odds are squared: 0.09, 0.0025, 0.25, 0.0225 of 0.365; word 0 ends at 0.2466, 1 at 0.2534
    assert words_at([0.246, 0.25, 0.26, 0.93, 0.94], temperature=0.5) == [0, 1, 2, 2, 3]


def test_the_penalty_divides_positive_and_multiplies_negative_scores() -> None:
    scores = torch.tensor([[2.0, -2.0, 2.0, -2.0]])
    seen = torch.tensor([[True, True, False, False]])
    assert penalise(scores, seen, 2.0).tolist() == [[1.0, -4.0, 2.0, -2.0]]


def test_a_written_word_is_penalised_too() -> None:
    sampler = Sampler(Sampling(repetition_penalty=2.0), unseen(1, 3))
    scores = torch.tensor([[3.0, 2.0, 1.0]])
    # 3 wins; halved to 1.5 it loses to 2; halved to 1 that loses to 1.5
    assert [sampler.next_tokens(scores).item() for _ in range(3)] == [0, 1, 0]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7),
        Sampling(temperature=1.3, top_k=5),
        Sampling(temperature=0.9, top_p=0.7),
        Sampling(temperature=0.9, top_k=12, top_p=0.6, repetition_penalty=1.4),
    ],
)
def test_frequencies_are_those_of_transformers(sampling: Sampling) -> None:
    words, draws = 20, 20_000
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(1, words, generator=generator) * 2
    prompt = torch.tensor([[1, 4, 7]])
    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)])
    processors.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        processors.append(TopKLogitsWarper(sampling.top_k))
    processors.append(TopPLogitsWarper(sampling.top_p))
    expected = processors(prompt, scores.clone()).softmax(dim=-1)[0]
    seen = unseen(1, words).scatter(1, prompt, True)
    penalised = penalise(scores, seen, sampling.repetition_penalty)
    luck = (torch.arange(draws, dtype=torch.float64) + 0.5) / draws  # evenly spread: counts are exact to one draw
    counts = torch.bincount(draw(penalised.repeat(draws, 1), luck, sampling), minlength=words)
    torch.testing.assert_close(counts / draws, expected, atol=1.5 / draws, rtol=0)


def test_a_row_draws_the_same_whoever_its_neighbours_are() -> None:
    generator = torch.Generator().manual_seed(3)
    steps = [torch.randn(3, 50, generator=generator) for _ in range(20)]
    sampling = Sampling(temperature=1.0, seed=5)
    three, alone = Sampler(sampling, unseen(3, 50)), Sampler(sampling, unseen(1, 50))
    together = [three.next_tokens(scores)[1].item() for scores in steps[:10]]
    three.keep([1])
    together += [three.next_tokens(scores[1:2])[0].item() for scores in steps[10:]]
    assert together == [alone.next_tokens(scores[1:2])[0].item() for scores in steps]
    other = Sampler(Sampling(temperature=1.0, seed=6), unseen(1, 50))
    assert together != [other.next_tokens(scores[1:2])[0].item() for scores in steps]


def test_impossible_words_never_come() -> None:
    scores = torch.tensor([[-math.inf, 0.0, -math.inf]])
    luck = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    for settings in ({}, {"top_k": 2}, {"top_p": 0.9}):
        assert draw(scores.repeat(2, 1), luck, Sampling(temperature=1.0, **settings)).tolist() == [1, 1]


def test_options_out_of_range_are_told_together() -> None:
    with pytest.raises(ProblemsError) as caught:
        from_mapping(Sampling, {"temperature": -1.0, "top_p": 0.0, "max_new_tokens": 0})
    assert caught.value.problems == (
        "temperature must be in [0, 5], got -1.0.",
        "top_p must be in (0, 1], got 0.0.",
        "max_new_tokens must be in [1, 32768], got 0.",
    )
