"""Models on the Hub are compared before their weights are fetched: what is refused, and what was asked of the Hub."""

from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants, save_torch_state_dict

from hub import Registry, Version
from medley.errors import ProblemsError
from medley.events import ignore_event
from medley.jobs import (
    JobSpec,
    add_base,
    convert_spec,
    extract_spec,
    fold_spec,
    merge_spec,
    plan_convert,
    plan_extract,
    plan_merge,
    run_convert,
    run_extract,
    run_fold,
    run_merge,
    set_up_fold,
)
from medley.jobs.job import Job
from medley.jobs.outlines import outlines
from medley.jobs.work import JobWork
from medley.lm.model_file import open_model
from tests.hub_server import HubServer
from tests.merging.llama_family import linear, weights, write_model
from tests.tiny_model import TINY_BASE_ID

OTHER_SIZE = "model.embed_tokens.weight is 384 x 16 in {0}, but 384 x 32 in {1}. Only models of one size can be merged."

OTHER_KEY = "{} is {} in the base and {} in the model. Both must be of one architecture."


@pytest.fixture
def models(online: HubServer, tiny_base: Path, tmp_path: Path) -> dict[str, str]:
    """Two models of the Hub that do not fit together, by name to their commits; `narrow` has several weights files."""
    narrow = write_model(tiny_base, tmp_path / "narrow", 1)
    tensors = weights(narrow)
    (narrow / "model.safetensors").unlink()
    save_torch_state_dict(tensors, narrow, max_shard_size="12KB")
    wide = write_model(tiny_base, tmp_path / "wide", 2, hidden_size=32)
    commits = {}
    for folder in (narrow, wide):
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        commits[folder.name] = online.store.add_repo(f"ada/{folder.name}", files).head().oid
    return commits


@pytest.fixture
def work_on(registry: Registry, tmp_path: Path) -> Callable[[Callable[[JobWork], str], JobSpec], str]:
    """work_on(run, spec) does a job in this very process."""

    def do(run: Callable[[JobWork], str], spec: JobSpec) -> str:
        job = Job("job-1", spec.kind, spec.title, spec.lane, "running", 0.0, tmp_path / "job", output_name="made")
        return run(JobWork(job, spec, registry, ignore_event, lambda: False))

    return do


def assert_no_weights_were_fetched(server: HubServer, tmp_path: Path) -> None:
    asked = server.calls("GET", ".safetensors")
    assert {seen.headers.get("range") for seen in asked if not seen.path.endswith(".json")} == {"bytes=0-100000"}
    assert not list((tmp_path / "hub-cache").rglob("*.safetensors"))


def test_an_outline_has_the_headers_of_the_model_and_none_of_its_weights(
    registry: Registry, online: HubServer, models: dict[str, str], tmp_path: Path
) -> None:
    pinned = {"label": "narrow", "hub_id": "ada/narrow", "revision": models["narrow"]}
    real = open_model(tmp_path / "narrow")
    assert len({tensor.path for tensor in real.tensors.values()}) > 2
    with outlines(registry, {"it": pinned}) as seen:
        outline = open_model(seen.folders["it"])
        assert outline.config == real.config
        assert {name: (each.dtype, each.shape, each.path.name) for name, each in outline.tensors.items()} == {
            name: (each.dtype, each.shape, each.path.name) for name, each in real.tensors.items()
        }
        first = next(iter(outline.tensors.values()))
        assert not any(first.path.read_bytes()[first.start :])
    assert not outline.folder.exists()
    assert_no_weights_were_fetched(online, tmp_path)


def test_models_that_do_not_fit_are_refused_before_their_weights_are_fetched(
    registry: Registry, online: HubServer, models: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ProblemsError) as caught:
        merge_spec(registry, linear("ada/narrow", "ada/wide"), name="made")
    assert caught.value.problems == (OTHER_SIZE.format("'ada/narrow'", "'ada/wide'"),)
    assert_no_weights_were_fetched(online, tmp_path)


def test_what_could_not_be_looked_at_offline_is_said_and_refused_by_the_job(
    registry: Registry,
    online: HubServer,
    models: dict[str, str],
    work_on: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A registered base is named without a connection; the job has one and looks before it fetches."""
    for name in models:
        add_base(registry, f"ada/{name}", name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    later = "is not on this machine. It is fetched when the merge starts, and compared with the others then."
    why = "cannot be looked at: The Hub client is offline because HF_HUB_OFFLINE is set. Unset it and try again."
    plan = plan_merge(registry, linear("narrow", "wide"))
    assert plan.findings.problems == ()
    assert plan.findings.warnings == (
        f"'narrow:v1' {later}", f"'wide:v1' {later}", f"'narrow:v1' {why}", f"'wide:v1' {why}"
    )  # fmt: skip
    merging = merge_spec(registry, linear("narrow", "wide"), name="made")
    assert plan_extract(registry, "wide", base="narrow").warnings == (f"'narrow:v1' {why}", f"'wide:v1' {why}")
    extracting = extract_spec(registry, "wide", base="narrow", name="made")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(ProblemsError) as caught:
        work_on(run_merge.run, merging)
    names = [f"'sha256:{registry.get(name).id}'" for name in ("narrow", "wide")]
    assert caught.value.problems == (OTHER_SIZE.format(*names),)
    with pytest.raises(ProblemsError) as caught:
        work_on(run_extract.run, extracting)
    assert caught.value.problems[0] == OTHER_KEY.format("hidden_size", 16, 32)
    assert_no_weights_were_fetched(online, tmp_path)


def test_an_extraction_is_refused_before_weights_are_fetched(
    registry: Registry, base: Version, online: HubServer, models: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ProblemsError) as caught:
        extract_spec(registry, "ada/narrow", base="tiny", name="made")
    assert caught.value.problems[0] == OTHER_KEY.format("hidden_size", 32, 16)
    assert_no_weights_were_fetched(online, tmp_path)


def test_adapters_that_do_not_fit_their_base_are_refused_before_its_weights_are_fetched(
    registry: Registry, online: HubServer, make_adapter: Callable[..., Path], models: dict[str, str], tmp_path: Path
) -> None:
    """The base is named by the adapter alone; `narrow` stands where it says."""
    online.store.repos["model", TINY_BASE_ID] = online.store.repos["model", "ada/narrow"]
    adapter = str(make_adapter("left", seed=1))
    with pytest.raises(ProblemsError) as caught:
        merge_spec(registry, linear(adapter, output="model"), name="made")
    assert caught.value.problems == (
        "'the merged adapter' changes model.layers.0.mlp.down_proj as 32 x 64, but in 'tiny-llama' it is 16 x 24.",
    )
    assert_no_weights_were_fetched(online, tmp_path)


NO_FIT = "'left' has model.layers.0.mlp.down_proj.weight as 32 x 64, but in the base it is 16 x 24."
NO_DORA = (
    "'dora': the tensors of model.layers.0.mlp.down_proj (and those of 13 more modules) do not fit together: "
    "lora_A.weight (4, 64), lora_B.weight (32, 4), lora_magnitude_vector (32,) beside a weight (16, 24)."
)


def test_folds_and_conversions_are_refused_before_the_base_s_weights_are_fetched(
    registry: Registry,
    online: HubServer,
    make_adapter: Callable[..., Path],
    models: dict[str, str],
    work_on: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By whoever has a connection first: the plan, or the job of a plan that was made without one."""
    online.store.repos["model", TINY_BASE_ID] = online.store.repos["model", "ada/narrow"]
    left, dora = str(make_adapter("left", seed=1)), str(make_adapter("dora", use_dora=True))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    setup, plan = set_up_fold(registry, [(left, 1.0)]), plan_convert(registry, dora)
    assert (setup.was_seen, setup.findings.problems, plan.findings) == (False, (), None)
    assert setup.warnings == plan.warnings
    assert setup.warnings[0].startswith("'tiny-llama:v1' cannot be looked at: The Hub client is offline")
    specs = fold_spec(registry, [(left, 1.0)], name="made"), convert_spec(registry, dora, name="made")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for attempt, says in (
        (lambda: fold_spec(registry, [(left, 1.0)], name="made"), NO_FIT),
        (lambda: convert_spec(registry, dora, name="made"), NO_DORA),
        (lambda: work_on(run_fold.run, specs[0]), NO_FIT),
        (lambda: work_on(run_convert.run, specs[1]), NO_DORA),
    ):
        with pytest.raises(ProblemsError) as caught:
            attempt()
        assert caught.value.problems[0] == says
    assert_no_weights_were_fetched(online, tmp_path)


def test_a_fold_into_a_base_of_the_hub_fetches_its_weights_once_it_fits(
    registry: Registry,
    online: HubServer,
    tiny_base: Path,
    make_adapter: Callable[..., Path],
    work_on: Callable[..., str],
    tmp_path: Path,
) -> None:
    online.store.add_repo(TINY_BASE_ID, {path.name: path.read_bytes() for path in tiny_base.iterdir()})
    blend = [(str(make_adapter("left", seed=1)), 1.0)]
    setup = set_up_fold(registry, blend)
    assert (setup.was_seen, setup.warnings, setup.findings.warnings) == (True, (), ())
    assert (setup.findings.changed, setup.findings.size_bytes) == (14, 4 * 30_880)
    assert_no_weights_were_fetched(online, tmp_path)
    made = registry.get(f"sha256:{work_on(run_fold.run, fold_spec(registry, blend, name='made'))}")
    assert (made.kind, made.metadata["parameters"]) == ("model", 30_880)
    assert len(list((tmp_path / "hub-cache").rglob("*.safetensors"))) == 1


def test_models_that_can_never_be_looked_at_are_refused(
    registry: Registry, base: Version, online: HubServer, models: dict[str, str]
) -> None:
    online.store.repos["model", "ada/wide"].gated = "manual"
    online.store.add_repo("ada/torn", {"config.json": b"{}", "model.safetensors": b"no weights"})
    with pytest.raises(ProblemsError) as caught:
        merge_spec(registry, linear("ada/wide", "ada/torn"), name="made")
    assert caught.value.problems == (
        f"'ada/wide' cannot be looked at: ada/wide is gated. Accept its terms at {online.url}/ada/wide, then try again "
        "with that account's token.",
        "'ada/torn' cannot be looked at: model.safetensors of ada/torn is not a readable safetensors file.",
    )
