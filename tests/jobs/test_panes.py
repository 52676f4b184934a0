"""What a user writes in a pane becomes a blend on one base, and what answers is what was asked for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import Registry, Version
from medley.errors import ConflictError, IncompatibleError, NotFoundError, ParameterError
from medley.jobs import EnginePool, Jobs, JobSpec, open_panes, parse_pane, plan_panes
from medley.jobs.job import Job
from medley.jobs.process import identify
from tests.tiny_model import TINY_BASE_ID

HELLO = [{"role": "user", "content": "Hello"}]
REFS = st.from_regex(r"[a-z][a-z0-9._-]{0,10}(:v[1-9])?", fullmatch=True).filter(lambda ref: ref != "base")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("base", []),
        (" base ", []),
        ("pirate", [("pirate", 1.0)]),
        ("pirate:v2", [("pirate:v2", 1.0)]),
        ("a=0.6+b:v2=0.4", [("a", 0.6), ("b:v2", 0.4)]),
        ("a = -1 + b", [("a", -1.0), ("b", 1.0)]),
        ("./my adapters/left=0.5", [("./my adapters/left", 0.5)]),
        ("org/name@main=2", [("org/name@main", 2.0)]),
        ("base-tuned", [("base-tuned", 1.0)]),
    ],
)
def test_a_pane_is_read(text: str, parts: list[tuple[str, float]]) -> None:
    assert [(ref.strip(), weight) for ref, weight in parse_pane(text)] == parts


@given(st.lists(st.tuples(REFS, st.floats(-9, 9)), min_size=1, max_size=4))
def test_every_blend_can_be_written(parts: list[tuple[str, float]]) -> None:
    assert parse_pane("+".join(f"{ref}={weight!r}" for ref, weight in parts)) == parts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The pane '' has an empty part. Write it like a=0.6+b=0.4, or base."),
        ("a++b", "The pane 'a++b' has an empty part. Write it like a=0.6+b=0.4, or base."),
        ("=0.5", "The pane '=0.5' has an empty part. Write it like a=0.6+b=0.4, or base."),
        ("a=half", "In the pane 'a=half', 'half' is no weight. Write a number, such as a=0.6."),
        ("a=nan", "In the pane 'a=nan', 'nan' is no weight. Write a number, such as a=0.6."),
        ("a=", "In the pane 'a=', '' is no weight. Write a number, such as a=0.6."),
    ],
)
def test_what_is_no_pane_is_refused(text: str, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_pane(text)
    assert str(caught.value) == message


def test_panes_are_planned_on_the_base_of_their_adapters(
    registry: Registry, base: Version, adapters: tuple[Version, Version]
) -> None:
    left, right = adapters
    plan = plan_panes(registry, ["base", "left", "left=0.25+right=0.5+left:v1=0.25"])
    assert plan.base.id == base.id
    assert plan.labels == ("base", "left", "left=0.25+right=0.5+left:v1=0.25")
    assert plan.blends == ({}, {left.id: 1.0}, {left.id: 0.5, right.id: 0.5})
    assert set(plan.adapters) == {left.id, right.id}


def test_adapters_of_two_bases_are_not_compared(
    registry: Registry, adapters: tuple[Version, Version], make_adapter: Callable[..., Path]
) -> None:
    folder = make_adapter("foreign", base_id="org/other")
    with pytest.raises(IncompatibleError) as caught:
        plan_panes(registry, ["left", str(folder)])
    assert str(caught.value) == (
        f"Adapter 'foreign' was trained on org/other, but 'left:v1' on {TINY_BASE_ID}. "
        "Only adapters of one base can be compared."
    )
    with pytest.raises(IncompatibleError) as caught:
        plan_panes(registry, [str(folder)], base="tiny")
    assert str(caught.value) == (
        f"Adapter 'foreign' was trained on org/other, but the chosen base is {TINY_BASE_ID}. "
        "Only adapters of one base can be compared."
    )


def test_two_revisions_of_one_base_are_two_bases(
    registry: Registry, adapters: tuple[Version, Version], base: Version
) -> None:
    pinned = registry.publish("base", "pinned", base.path, base=TINY_BASE_ID, base_revision="1234567890")
    registry.publish("adapter", "old", adapters[0].path, base=TINY_BASE_ID, base_revision="1234567890")
    registry.publish("adapter", "new", adapters[1].path, base=TINY_BASE_ID, base_revision="abcdefabcd")
    assert plan_panes(registry, ["old", "left"]).base.id == pinned.id  # `left` does not say its revision
    with pytest.raises(IncompatibleError) as caught:
        plan_panes(registry, ["old", "new"])
    assert str(caught.value) == (
        f"Adapter 'new:v1' was trained on {TINY_BASE_ID}@abcdefab, but 'old:v1' on {TINY_BASE_ID}@12345678. "
        "Only adapters of one base can be compared."
    )


def test_an_adapter_that_does_not_say_its_base_needs_one(
    registry: Registry, base: Version, make_adapter: Callable[..., Path]
) -> None:
    folder = make_adapter("local", base_id="/models/mine")
    assert plan_panes(registry, [str(folder)], base="tiny").base.id == base.id


def test_each_pane_is_answered_by_its_own_blend(registry: Registry, adapters: tuple[Version, Version]) -> None:
    from medley.lm.sampling import Sampling

    left, right = adapters
    panes = open_panes(registry, ["base", "left=0.5+right=0.5", "left"])
    sampling = Sampling(max_new_tokens=4)
    answers = panes.generate([HELLO] * 3, sampling)
    assert [answer.blend for answer in answers] == [{}, {left.id: 0.5, right.id: 0.5}, {left.id: 1.0}]
    streamed = ["", "", ""]
    for update in panes.stream([HELLO] * 3, sampling):
        streamed[update.pane] += update.text
    assert streamed == [answer.text for answer in answers]
    moved = list(panes.stream([HELLO] * 3, sampling, blends=[{right.id: 1.0}, {}, {}]))
    assert {update.pane: dict(update.blend) for update in moved} == {0: {right.id: 1.0}, 1: {}, 2: {}}
    stopped = list(panes.stream([HELLO] * 3, sampling, should_stop=lambda pane: pane == 1))
    assert {update.pane: update.finish_reason for update in stopped if update.is_done}[1] == "stopped"
    panes.close()
    with pytest.raises(ConflictError):
        panes.generate([HELLO] * 3, sampling)


def test_a_name_that_moves_on_shows_its_new_weights(
    registry: Registry, adapters: tuple[Version, Version], make_adapter: Callable[..., Path]
) -> None:
    pool = EnginePool()
    before = open_panes(registry, ["left"], pool=pool)
    newer = registry.publish("adapter", "left", make_adapter("newer", seed=7), base=TINY_BASE_ID)
    after = open_panes(registry, ["left"], pool=pool)
    assert after.engine is before.engine
    assert before.blends == ({adapters[0].id: 1.0},)
    assert after.blends == ({newer.id: 1.0},)
    assert set(after.engine.keys) == {adapters[0].id, newer.id}
    assert not (before.engine.logits(HELLO, before.blends[0]) == after.engine.logits(HELLO, after.blends[0])).all()
    pool.close()


def test_adapters_that_were_pushed_out_come_back(
    registry: Registry, adapters: tuple[Version, Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medley.jobs.panes.MAX_RESIDENT_ADAPTERS", 1)
    pool = EnginePool()
    first = open_panes(registry, ["left"], pool=pool)
    open_panes(registry, ["right"], pool=pool)
    assert first.engine.keys == (adapters[1].id,)
    first.load()
    assert first.engine.keys == (adapters[0].id,)
    pool.close()


def test_a_training_on_the_gpu_keeps_the_pool_closed(
    jobs: Jobs, registry: Registry, base: Version, a_training: Callable[..., JobSpec]
) -> None:
    """The row of a running training is enough here; its process is this test's own."""
    spec = a_training("adder", device="cuda")
    job: Job = jobs.store.add(spec, resumed_from=None)
    jobs.store.mark_running(job.id, identify(os.getpid()))
    with pytest.raises(ConflictError) as caught:
        EnginePool(jobs).get(registry, base)
    assert str(caught.value) == f"Job '{job.id}' is training on the GPU. Wait for it to end, or stop it."
    on_cpu = EnginePool(jobs, device="cpu")
    assert on_cpu.get(registry, base).base.device.name == "cpu"
    assert not on_cpu.make_room()  # nothing of it is on the GPU
    on_cpu.close()
    jobs.store.finish(jobs.store.get(job.id), "stopped")


def test_nothing_is_loaded_for_a_pane_that_means_nothing(registry: Registry, adapters: tuple[Version, Version]) -> None:
    class Refusing(EnginePool):
        def get(self, *arguments: object, **named: object) -> None:
            raise AssertionError("loaded")

    with pytest.raises(NotFoundError):
        open_panes(registry, ["left", "rihgt"], pool=Refusing())
