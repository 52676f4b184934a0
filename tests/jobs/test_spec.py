"""A spec is whole, readable and free of secrets: it survives being written and read; nothing else passes for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medley.errors import JobError
from medley.jobs.spec import KINDS, JobSpec, parse_spec

TOKEN = "hf_" + "aB3" * 12
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(params=st.dictionaries(st.text(max_size=8), PLAIN, max_size=4), title=st.text(max_size=30))
def test_a_spec_is_read_as_it_was_written(params: dict, title: str) -> None:
    spec = JobSpec("merge", title, params, "both")
    assert parse_spec(spec.to_yaml()) == spec


def test_tuples_become_lists() -> None:
    spec = JobSpec("train", "t", {"options": {"targets": ("q_proj", "v_proj")}}, "x")
    assert parse_spec(spec.to_yaml()).params == {"options": {"targets": ["q_proj", "v_proj"]}}


@pytest.mark.parametrize(
    ("kind", "params", "lane"),
    [
        ("train", {"device": "cuda"}, "train:cuda"),
        ("train", {}, "train:cpu"),
        ("merge", {}, "merge"),
        ("import", {}, "light"),
    ],
)
def test_each_kind_waits_in_its_lane(kind: str, params: dict, lane: str) -> None:
    assert JobSpec(kind, "t", params, "x").lane == lane


def test_a_token_in_a_spec_is_refused_and_not_repeated() -> None:
    spec = JobSpec("import", "t", {"settings": [{"source": f"https://user:{TOKEN}@example.org"}]}, "x")
    with pytest.raises(JobError) as caught:
        spec.to_yaml()
    assert str(caught.value) == (
        "There is an access token in the job's params.settings[0].source. Pass it by the HF_TOKEN variable instead."
    )


def test_a_token_of_any_shape_is_refused_when_it_is_the_one_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "my-own-secret")
    with pytest.raises(JobError, match=r"in the job's title\."):
        JobSpec("import", "Import my-own-secret", {}, "x").to_yaml()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: [", "The job's spec.yaml is not readable YAML; it was changed by hand or damaged."),
        ("[]", "A job's spec.yaml has exactly the keys kind, output_name, params, title; this one has others."),
        (
            "{kind: train, title: t, params: {}, output_name: x, more: 1}",
            "A job's spec.yaml has exactly the keys kind, output_name, params, title; this one has others.",
        ),
        (
            "{kind: dance, title: t, params: {}, output_name: x}",
            f"There is no kind of job called 'dance'. Known: {', '.join(KINDS)}.",
        ),
        ("{kind: train, title: t, params: [], output_name: x}", "A job's params must be a mapping."),
        (
            "!!python/object/apply:os.system ['true']",
            "The job's spec.yaml is not readable YAML; it was changed by hand or damaged.",
        ),
    ],
)
def test_what_is_no_spec_is_refused(text: str, message: str) -> None:
    with pytest.raises(JobError) as caught:
        parse_spec(text)
    assert str(caught.value) == message
