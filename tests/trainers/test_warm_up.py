"""The learning rate climbs for whole steps, so that a short run wastes none."""

from typing import Any

import pytest

from tests.trainers.preference_rows import WORDS, collect, pair, runner, values, write_dataset
from trainers import TRAINERS, RewardOptions
from trainers.warm_up import warm_up_steps


def test_a_share_is_whole_steps() -> None:
    assert [warm_up_steps(0.03, steps) for steps in (1, 33, 34, 66, 67, 100)] == [0, 0, 1, 1, 2, 3]
    assert warm_up_steps(0.29, 100) == 29
    assert (warm_up_steps(0.0, 100), warm_up_steps(1.0, 100)) == (0, 100)


@pytest.mark.parametrize(("share", "rates"), [(0.03, [1.0, 0.75, 0.5, 0.25]), (0.5, [0.0, 0.5, 1.0, 0.5])])
def test_the_rate_of_a_short_run(share: float, rates: list[float], tiny_base: Any, tmp_path: Any) -> None:
    data = write_dataset(tmp_path / "pairs", [pair(word) for word in WORDS[:8]], [])
    events: list[dict[str, Any]] = []
    options = RewardOptions(
        max_steps=4, batch_size=2, rank=2, device="cpu", learning_rate=1e-3, lr_schedule="linear", warmup_share=share
    )
    runner("reward", tiny_base, data, tmp_path)("run", options, emit=collect(events))
    assert values(events, "learning_rate") == pytest.approx([1e-3 * rate for rate in rates])


def test_every_trainer_on_trl_warms_up_so() -> None:
    from trainers.dpo import SeededDPOTrainer
    from trainers.grpo import SeededGRPOTrainer
    from trainers.kto import SeededKTOTrainer
    from trainers.reward import SeededRewardTrainer
    from trainers.sft import SeededSFTTrainer

    theirs = {SeededDPOTrainer, SeededGRPOTrainer, SeededKTOTrainer, SeededRewardTrainer, SeededSFTTrainer}
    assert {each.create_scheduler.__module__ for each in theirs} == {"trainers.warm_up"}
    assert len(theirs) == len(TRAINERS) - 1  # PPO has a loop of its own
