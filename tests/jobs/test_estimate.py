"""What a training needs, told from the registry; and the refusal with advice, when submitted and when it starts."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hub import Registry, Version
from medley.corpus import read_rows
from medley.corpus.row_lengths import counted_lengths, guessed_lengths
from medley.errors import BaseModelError, MemoryLimitError
from medley.jobs import JobSpec, spec_estimate, train_spec, training_estimate
from medley.jobs import estimate as estimating
from medley.jobs.estimate import IMPORT_BYTES, check_fits_now
from tests.jobs.conftest import TRAINING

MB = 1_000_000


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """machine(total=…, free=…) gives this machine another memory, in MB beside what the libraries take."""

    def set_memory(total: float, free: float = 0) -> None:
        monkeypatch.setattr(estimating, "total_memory", lambda device: IMPORT_BYTES + total * MB)
        monkeypatch.setattr(estimating, "free_memory", lambda device: IMPORT_BYTES + free * MB)

    return set_memory


def test_the_estimate_of_a_training(registry: Registry, base: Version, sums: Version) -> None:
    found = training_estimate(registry, "sft", base="tiny", data="sums", options={**TRAINING, "batch_size": 4})
    assert found.steps == 3 * 16 / 4
    rows = guessed_lengths(read_rows(sums.path, "train"))
    assert found.longest_row == max(rows) == 43  # 29 bytes of text at 3.5, two turns of 5, and a system prompt's 25
    assert found.parts["weights"] in (2 * base.metadata["parameters"], 4 * base.metadata["parameters"])
    assert found.seconds is not None
    assert 0 < found.seconds[0] < found.seconds[1] < 60


@pytest.mark.parametrize("trainer", ["ppo", "grpo"])
def test_a_trainer_that_writes_answers_reads_prompts_alone(
    trainer: str, registry: Registry, base: Version, tmp_path: Path
) -> None:
    """The long prompt counts whole; with its answer it would be above the limit, and the short row would decide."""
    rows = [
        {
            "prompt": [{"role": "user", "content": "x" * size}],
            "completion": [{"role": "assistant", "content": "y" * 700}],
        }
        for size in (14, 1400)
    ]
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    registry.publish("dataset", "long", tmp_path / "rows", metadata={"kind": "sft"})
    options = {"max_new_tokens": 10, "device": "cpu"}
    found = training_estimate(registry, trainer, base="tiny", data="long", options=options)
    assert found.longest_row == 1400 / 3.5 + 5 + 25 + 10


def test_the_longest_rows_are_counted(sums: Version, tiny_base: Path) -> None:
    from medley.corpus.tokens import encode
    from medley.lm.load import load_tokenizer

    rows, tokenizer = read_rows(sums.path, "train"), load_tokenizer(tiny_base)
    real = [encode(row, tokenizer, max_length=None).full_length + 1 for row in rows]  # the line end after the answer
    assert counted_lengths(rows, tokenizer) == real
    guessed = guessed_lengths(rows)
    longest = max(range(len(rows)), key=guessed.__getitem__)
    some = counted_lengths(rows, tokenizer, longest=1)
    assert some[longest] == real[longest]
    assert sum(one != other for one, other in zip(some, guessed, strict=True)) == 1


def test_a_training_that_can_never_fit_is_not_queued(
    a_training: Callable[..., JobSpec], machine: Callable[..., None]
) -> None:
    machine(total=1000)
    a_training("counter", batch_size=16)
    machine(total=151)
    with pytest.raises(MemoryLimitError) as caught:
        a_training("counter", batch_size=16)
    assert str(caught.value) == (
        "The training needs about 0.7 GB of memory, but this machine has 0.7 GB. The longest row has about 43 tokens. "
        "What would fit: batch_size=1 with gradient_accumulation=16 (0.7 GB). "
        "To start it all the same: check_memory=false."
    )
    assert a_training("counter", batch_size=16, check_memory=False).params["options"]["check_memory"] is False


def test_no_advice_where_nothing_would_fit(a_training: Callable[..., JobSpec], machine: Callable[..., None]) -> None:
    machine(total=10)
    with pytest.raises(
        MemoryLimitError, match=r"No setting of these options would fit; take a smaller base\. To start"
    ):
        a_training("counter")


def test_the_worker_asks_again_what_is_free(
    a_training: Callable[..., JobSpec], machine: Callable[..., None], tiny_base: Path, sums: Version
) -> None:
    spec = a_training("counter")
    machine(total=1000, free=1000)
    check_fits_now(spec, tiny_base, sums.path)
    machine(total=1000, free=100)
    with pytest.raises(
        MemoryLimitError, match=r"^The training needs about 0\.7 GB of memory, but only 0\.7 GB are free\."
    ):
        check_fits_now(spec, tiny_base, sums.path)


def test_a_base_that_was_never_downloaded_is_not_judged(
    registry: Registry, sums: Version, machine: Callable[..., None], make_adapter: Callable[..., Path]
) -> None:
    registry.publish("adapter", "far", make_adapter("far", base_id="org/far"), base="org/far")
    machine(total=1)
    spec = train_spec(registry, "sft", data="sums", name="counter", init="far", options={"device": "cpu"})
    with pytest.raises(BaseModelError) as caught:
        spec_estimate(registry, spec)
    assert str(caught.value) == (
        "The base is not on this machine yet, so its size is known only once it is downloaded."
    )


def test_the_bundled_base_is_known_before_it_is_unpacked(registry: Registry, sums: Version) -> None:
    base = registry.publish("base", "smollm2-135m-instruct", base_record(registry), metadata={"source": "bundled"})
    found = training_estimate(registry, "sft", base=base.label, data="sums", options=TRAINING)
    assert found.parts["weights"] in (2 * 134_515_008, 4 * 134_515_008)


def base_record(registry: Registry) -> Path:
    folder = registry.home / "record"
    folder.mkdir(parents=True)
    (folder / "base.json").write_text("{}")
    return folder
