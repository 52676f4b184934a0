"""How answers arrive: piece by piece, stoppable, one stream at a time, and the model is bare again afterwards."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medley.errors import ConflictError, NotFoundError, ParameterError, ProblemsError
from medley.lm import engine as engine_module
from medley.lm.engine import Engine, Pane, Sampling
from medley.lm.load import LoadedBase
from medley.lm.prompts import prompt_ids

ASK = ({"role": "user", "content": "The quick brown fox"},)
GREEDY = Sampling(max_new_tokens=12)


def hook_count(engine: Engine) -> int:
    return sum(len(module._forward_hooks) for module in engine.base.model.modules())


def test_the_pieces_join_to_the_answer_and_the_last_one_says_why(engine: Engine) -> None:
    panes = [Pane(ASK, {"a": 1.0, "b": 0.0}), Pane(ASK)]
    updates = list(engine.stream(panes, GREEDY))
    for pane, answer in enumerate(engine.generate(panes, GREEDY)):
        mine = [update for update in updates if update.pane == pane]
        assert "".join(update.text for update in mine) == answer.text
        assert [update.new_tokens for update in mine] == list(range(1, answer.new_tokens + 1))
        assert [update.is_done for update in mine] == [False] * (len(mine) - 1) + [True]
        assert mine[-1].finish_reason == answer.finish_reason == "length"
        assert all(update.finish_reason == "" for update in mine[:-1])
        assert all(update.tokens_per_s > 0 for update in mine)
    assert updates[0].blend == {"a": 1.0}  # what took part, without zeros
    assert updates[1].blend == {}


def test_every_end_token_ends_a_pane_and_leaves_no_text(engine: Engine) -> None:
    first = engine.base.model(torch.tensor([prompt_ids(engine.base.tokenizer, ASK)])).logits[0, -1].argmax().item()
    engine.end_ids = engine.end_ids | {first}
    answer = engine.generate([Pane(ASK)], GREEDY)[0]
    assert (answer.text, answer.finish_reason, answer.new_tokens) == ("", "stop", 1)


def test_one_pane_can_be_stopped_while_the_other_goes_on(engine: Engine) -> None:
    panes, seen = [Pane(ASK), Pane(ASK, {"a": 1.0})], [0, 0]
    alone = engine.generate(panes[1:], GREEDY)[0]
    last = {}
    text = ""
    for update in engine.stream(panes, GREEDY, should_stop=lambda pane: pane == 0 and seen[0] == 3):
        seen[update.pane] = update.new_tokens
        last[update.pane] = update
        text += update.text if update.pane == 1 else ""
    assert (last[0].finish_reason, last[0].new_tokens) == ("stopped", 3)
    assert (last[1].finish_reason, last[1].new_tokens, text) == ("length", 12, alone.text)


def test_the_model_is_bare_and_free_after_every_ending(engine: Engine) -> None:
    panes = [Pane(ASK, {"a": 1.0})]
    list(engine.stream(panes, GREEDY))
    assert hook_count(engine) == 0
    stream = engine.stream(panes, GREEDY)
    next(stream)
    assert hook_count(engine) > 0
    stream.close()
    assert hook_count(engine) == 0

    def fail(pane: int) -> bool:
        raise RuntimeError("the browser went away")

    with pytest.raises(RuntimeError, match="the browser went away"):
        list(engine.stream(panes, GREEDY, should_stop=fail))
    assert hook_count(engine) == 0
    assert engine.generate(panes, GREEDY)[0].new_tokens == 12


def test_a_second_stream_waits_for_the_first(engine: Engine) -> None:
    expected = engine.generate([Pane(ASK, {"b": 1.0})], GREEDY)[0].text
    first = engine.stream([Pane(ASK, {"a": 1.0})], GREEDY)
    next(first)
    answers: list[str] = []
    second = threading.Thread(
        target=lambda: answers.append(engine.generate([Pane(ASK, {"b": 1.0})], GREEDY)[0].text), daemon=True
    )
    second.start()
    second.join(timeout=0.2)
    assert second.is_alive()
    assert answers == []
    list(first)
    second.join(timeout=60)
    assert answers == [expected]


def test_a_stream_that_never_ends_is_not_waited_for_for_ever(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "WAIT_S", 0.05)
    first = engine.stream([Pane(ASK)], GREEDY)
    next(first)
    with pytest.raises(ConflictError, match=r"^Another answer has been running on this base for 0 s\. Stop it"):
        engine.generate([Pane(ASK)], GREEDY)
    first.close()
    assert engine.generate([Pane(ASK)], GREEDY)[0].new_tokens == 12


def test_closing_the_engine_ends_a_running_stream(loaded_tiny: LoadedBase, make_adapter: Callable[..., Path]) -> None:
    engine = Engine(loaded_tiny)
    engine.add("a", make_adapter("a"))
    stream = engine.stream([Pane(ASK, {"a": 1.0}), Pane(ASK)], GREEDY)
    next(stream), next(stream)
    engine.close()
    assert [update.finish_reason for update in stream] == ["stopped", "stopped"]
    assert engine.keys == ()
    assert hook_count(engine) == 0
    with pytest.raises(ConflictError, match="This engine was closed to free its memory; open the base again"):
        engine.generate([Pane(ASK)], GREEDY)


def test_removing_an_adapter_lets_a_running_stream_finish_with_it(engine: Engine) -> None:
    panes = [Pane(ASK, {"a": 1.0})]
    expected = engine.generate(panes, GREEDY)[0].text
    stream = engine.stream(panes, GREEDY)
    pieces = [next(stream).text]
    engine.remove("a")
    pieces += [update.text for update in stream]
    assert "".join(pieces) == expected
    with pytest.raises(NotFoundError):
        engine.stream(panes, GREEDY)


def test_an_adapter_removed_before_a_stream_has_its_turn_is_told(engine: Engine) -> None:
    waiting = engine.stream([Pane(ASK, {"a": 1.0})], GREEDY)
    engine.remove("a")
    with pytest.raises(NotFoundError, match=r"^The adapter a is not in memory; add it to the engine first\.$"):
        next(waiting)
    assert engine.generate([Pane(ASK, {"b": 1.0})], GREEDY)[0].new_tokens == 12  # the engine is free again


@pytest.mark.parametrize(
    ("panes", "error", "message"),
    [
        ([], ParameterError, "There is nothing to answer: at least one pane is needed."),
        (
            [Pane(ASK, {"c" * 64: 1.0})],
            NotFoundError,
            "The adapter cccccccccccc is not in memory; add it to the engine first.",
        ),
        ([Pane(ASK, {"a": float("nan")})], ParameterError, "A weight must be a finite number, got nan for a."),
    ],
)
def test_what_cannot_be_asked_is_refused_before_the_first_token(
    engine: Engine, panes: list[Pane], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        engine.stream(panes, GREEDY)
    assert str(caught.value) == message


def test_options_out_of_range_are_refused(engine: Engine) -> None:
    with pytest.raises(ProblemsError, match=r"^temperature must be in \[0, 5\], got 9\.0\.$"):
        engine.stream([Pane(ASK)], Sampling(temperature=9.0))


def test_the_context_of_the_base_is_respected(engine: Engine) -> None:
    def ask(words: int) -> tuple[dict[str, str], ...]:
        return ({"role": "user", "content": "é" * words},)

    def length(words: int) -> int:
        return len(prompt_ids(engine.base.tokenizer, ask(words)))

    per_word = length(2) - length(1)
    words = (512 - length(0) - 3) // per_word
    room = 512 - length(words)
    answer = engine.generate([Pane(ask(words), {"a": 1.0})], Sampling(max_new_tokens=50))[0]
    assert 1 <= room <= 3 + per_word
    assert (answer.finish_reason, answer.new_tokens) == ("length", room)
    with pytest.raises(ParameterError, match=r"^The prompt has \d+ tokens, but the base reads at most 512\.$"):
        engine.stream([Pane(ask(words + 10))], GREEDY)
