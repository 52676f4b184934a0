"""Folding by name: what is found and pinned, what is registered of the result, and the result as a base of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from hub import Registry, Version
from medley.errors import IncompatibleError, NotFoundError, ProblemsError
from medley.events import ignore_event
from medley.jobs import JobSpec, base_folder, base_of, find_base, fold_spec, plan_panes, set_up_fold, train_spec
from medley.jobs.base_names import belongs_to, identity_of
from medley.jobs.job import Job
from medley.jobs.model_facts import model_facts
from medley.jobs.run_fold import recipe_text, run
from medley.jobs.work import JobWork
from tests.tiny_model import TINY_BASE_ID


@pytest.fixture
def work_on(registry: Registry, tmp_path: Path) -> Callable[[JobSpec], str | None]:
    """work_on(spec) does a job in this very process; what it gives is what its runner gives."""

    def do(spec: JobSpec) -> str | None:
        job = Job("fold-1", "fold", spec.title, spec.lane, "running", 0.0, tmp_path / "job", output_name="chef")
        return run(JobWork(job, spec, registry, ignore_event, lambda: False))

    return do


@pytest.fixture
def folded(registry: Registry, adapters: tuple[Version, Version], work_on: Callable[[JobSpec], str | None]) -> Version:
    """0.6 of `left` and 0.4 of `right` in the tiny base, as `chef`."""
    work_on(fold_spec(registry, [("left", 0.6), ("right", 0.4)], name="chef"))
    return registry.get("chef", "model")


def test_the_model_and_what_is_known_of_it(
    registry: Registry, base: Version, adapters: tuple[Version, Version], folded: Version, tmp_path: Path
) -> None:
    assert (folded.base, folded.base_revision) == (TINY_BASE_ID, None)
    assert sorted((role, parent.label) for role, parent in registry.parents(folded.id)) == [
        ("base", "tiny:v1"),
        ("input", "left:v1"),
        ("input", "right:v1"),
    ]
    left, right = (f"sha256:{each.id}" for each in adapters)
    assert yaml.safe_load(folded.recipe) == {"fold": {"base": TINY_BASE_ID, "adapters": {left: 0.6, right: 0.4}}}
    facts = folded.metadata
    assert (facts["trainer"], facts["method"], facts["base_name"], facts["job"]) == ("fold", "fold", "tiny", "fold-1")
    assert {key: facts[key] for key in model_facts(folded.path)} == model_facts(folded.path)
    files = {entry.path for entry in registry.files(folded.id)}
    assert files == {
        "chat_template.jinja", "config.json", "generation_config.json", "merge_report.json", "model.safetensors",
        "recipe.yaml", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert str(tmp_path) not in (folded.path / "merge_report.json").read_text()


def test_a_model_is_a_base(registry: Registry, base: Version, folded: Version, sums: Version) -> None:
    assert find_base(registry, "chef").id == find_base(registry, f"sha256:{folded.id[:12]}").id == folded.id
    assert base_folder(registry, folded) == folded.path
    known_as = f"folder:{folded.metadata['weights_digest']}"
    assert (identity_of(folded), identity_of(base)) == ((known_as, None), (TINY_BASE_ID, None))
    registry.publish("model", "chef", base_folder(registry, base), base=TINY_BASE_ID)  # v1 is the latest no more
    trained = registry.publish("adapter", "on-chef", registry.get("left").path, base=known_as)
    assert base_of(registry, trained).label == find_base(registry, known_as).label == "chef:v1"
    assert (belongs_to(trained, folded), belongs_to(trained, base)) == (True, False)
    assert not belongs_to(registry.get("left"), folded)
    spec = train_spec(registry, "sft", base="chef:v1", data="sums", name="more", options={"device": "cpu"})
    assert spec.params["base"] == folded.id
    assert plan_panes(registry, ["base", "on-chef"], base="chef:v1").base.id == folded.id
    asked = plan_panes(registry, ["chef:v1", "on-chef"])  # named as a pane, it is the base under all of them
    assert (asked.base.id, asked.blends) == (folded.id, ({}, {registry.get("on-chef").id: 1.0}))
    for panes, chosen in ((["chef:v1", "tiny"], None), (["chef:v1"], "tiny")):
        with pytest.raises(IncompatibleError) as caught:
            plan_panes(registry, panes, base=chosen)
        assert str(caught.value) == (
            "'chef:v1' and 'tiny:v1' are several full models, and one answers at a time. Ask them one by one."
        )
    with pytest.raises(IncompatibleError) as caught:
        plan_panes(registry, ["left"], base="chef:v1")
    assert str(caught.value) == (
        f"Adapter 'left:v1' was trained on {TINY_BASE_ID}, but the chosen base is {known_as[:15]}. "
        "Only adapters of one base can be compared."
    )
    with pytest.raises(NotFoundError, match=r"^There is no base named 'shef'"):
        find_base(registry, "shef")


def test_the_model_answers_as_the_blend_did(registry: Registry, base: Version, folded: Version) -> None:
    from medley.lm.engine import Engine
    from medley.lm.load import load_base

    question = ({"role": "user", "content": "Where does the treasure lie?"},)
    blend = {"left": 0.6, "right": 0.4}
    engine = Engine(load_base(base_folder(registry, base), device="cpu", dtype="float32"))
    for name in blend:
        engine.add(name, registry.get(name).path)
    model = Engine(load_base(folded.path, device="cpu", dtype="float32"))
    assert torch.allclose(model.logits(question, {}), engine.logits(question, blend), atol=2e-5)
    assert not torch.allclose(model.logits(question, {}), engine.logits(question, {}), atol=2e-2)


def test_a_folder_alone_registers_nothing(
    registry: Registry, adapters: tuple[Version, Version], work_on: Callable[[JobSpec], str | None], tmp_path: Path
) -> None:
    spec = fold_spec(registry, [("left", 1.0)], out=tmp_path / "out", dtype="bfloat16", shard_bytes=20_000)
    assert (spec.title, spec.lane, spec.output_name) == ("Fold left:v1 into tiny:v1", "merge", "")
    assert work_on(spec) is None
    assert registry.list("model") == []
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 2
    with pytest.raises(ProblemsError, match=r"out' exists and is not an empty folder\. Choose another place"):
        fold_spec(registry, [("left", 1.0)], out=tmp_path / "out")


def test_four_bit_adapters_are_told_which_weights_they_get(
    registry: Registry, adapters: tuple[Version, Version], work_on: Callable[[JobSpec], str | None]
) -> None:
    registry.update_metadata(adapters[0].id, trained_on="nf4", licence="mit")
    work_on(fold_spec(registry, [("left", 1.0)], name="chef"))
    facts = registry.get("chef").metadata
    digest = registry.get("tiny").metadata["weights_digest"]
    assert facts["notes"] == [
        "left:v1 was trained on tiny:v1 in 4 bits (nf4) and is folded into its unquantised weights "
        f"(sha256 {digest[:8]})."
    ]
    assert (facts["licence"], facts["base_weights_digest"]) == ("mit", digest)


def test_everything_wrong_is_said_at_once(
    registry: Registry, adapters: tuple[Version, Version], make_adapter: Callable[..., Path]
) -> None:
    with pytest.raises(ProblemsError) as caught:
        fold_spec(registry, [("left", 1.0), ("nobody", 1.0)], name="tiny")
    assert caught.value.problems == (
        "The name 'tiny' belongs to a version of kind base. Choose another one.",
        "There is no version named 'nobody'.",
    )
    biased = make_adapter("biased", lora_bias=True)
    with pytest.raises(ProblemsError) as caught:
        fold_spec(registry, [(str(biased), 1.0), ("nobody", 1.0)], name="chef")
    assert caught.value.problems == (
        "There is no version named 'nobody'.",
        "'biased' trained biases of its factors (lora_bias), which are no delta of the weights. Train it as plain "
        "LoRA.",
    )
    other = make_adapter("other", base_id="somebody/else")
    with pytest.raises(ProblemsError) as caught:
        fold_spec(registry, [("left", 1.0), (str(other), 1.0)], name="chef")
    assert caught.value.problems == (
        f"Adapter 'left:v1' was trained on {TINY_BASE_ID}, but 'other' on somebody/else. "
        "Only adapters of one base can be folded together.",
    )
    setup = set_up_fold(registry, [("left", 1.0)])
    assert (setup.was_seen, setup.findings.changed) == (True, 14)


def test_a_recipe_names_every_folder_that_was_folded(
    registry: Registry, base: Version, make_adapter: Callable[..., Path]
) -> None:
    folders = [make_adapter("one/same", seed=1), make_adapter("two/same", seed=2)]
    params = fold_spec(registry, [(str(folder), 0.5) for folder in folders], name="chef").params
    digests = [each["weights_sha256"] for each in params["inputs"]]
    recipe = yaml.safe_load(recipe_text(params, "org/base", None))
    assert recipe["fold"]["adapters"] == {f"same-{digest[:8]}": 0.5 for digest in digests}
    assert len(set(digests)) == 2
