"""A PPO run that was stopped goes on to the very bytes of one that was not: policy, value function and all."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medley.errors import IncompatibleError
from tests.trainers.test_ppo_parts import write_reward_adapter
from tests.trainers.test_sft import adapter_digest
from trainers import TrainResult
from trainers.ppo_checkpoint import STATE_FILE

RunPPO = Callable[..., TrainResult]
EVERYTHING = {"updates": 5, "mini_batches": 2, "kl_adaptive": True, "normalise_reward": True, "save_every": 2}


def state_of(result: TrainResult) -> dict:
    assert result.checkpoint is not None
    return torch.load(result.checkpoint / STATE_FILE, weights_only=True)


def assert_equal(left: object, right: object) -> None:
    """The same values to the last bit, however deep."""
    assert type(left) is type(right)
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_equal(left[key], right[key])
    elif isinstance(left, (list, tuple)):
        for mine, theirs in zip(left, right, strict=True):
            assert_equal(mine, theirs)
    else:
        assert left == right


@pytest.mark.parametrize("value", ["adapter", "head"])
def test_stopped_and_resumed_equals_never_stopped(
    run_ppo: RunPPO, tiny_base: Path, tmp_path: Path, make_adapter: Callable[..., Path], value: str
) -> None:
    options = {**EVERYTHING, "value": value, "reward": ("judge", "matches:e")}
    work = {
        "adapters": {"judge": write_reward_adapter(tiny_base, tmp_path / "judge")},
        "init_adapter": make_adapter("start"),
    }
    whole = run_ppo("whole", options, **work)
    asked = iter(range(100))
    stopped = run_ppo("stopped", options, should_stop=lambda: next(asked) == 2, **work)  # after update 3 of 5
    assert (stopped.was_stopped, stopped.steps, stopped.adapter_dir) == (True, 3, None)
    assert stopped.checkpoint.name == "checkpoint-3"
    resumed = run_ppo("resumed", options, resume_from=stopped.checkpoint, **work)
    assert resumed.steps == whole.steps == 5
    assert adapter_digest(resumed) == adapter_digest(whole)
    assert resumed.metrics == whole.metrics
    assert_equal(state_of(resumed), state_of(whole))  # value function, optimizer, generator, controller, statistics
    assert any(name.startswith("value.model.") for name in state_of(whole)["parameters"]) == (value == "adapter")


def test_same_seed_same_bytes_other_seed_other_bytes(run_ppo: RunPPO) -> None:
    first, second, other = (run_ppo(name, {"seed": seed}) for name, seed in (("one", 7), ("two", 7), ("three", 8)))
    assert adapter_digest(first) == adapter_digest(second) != adapter_digest(other)


def test_old_checkpoints_go_and_another_runs_are_refused(run_ppo: RunPPO) -> None:
    result = run_ppo("run", {"updates": 4, "save_every": 1, "keep_checkpoints": 2})
    folders = sorted(path.name for path in result.checkpoint.parent.iterdir())
    assert folders == ["checkpoint-3", "checkpoint-4"]
    with pytest.raises(IncompatibleError) as caught:
        run_ppo("other", {"rank": 2}, resume_from=result.checkpoint)
    assert str(caught.value) == "checkpoint-4 is of a run with other options. Start a new training instead."
