"""The trainers there are. One more: a file with `train(options, work)`, an options class and a line here."""

import dataclasses
import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medley.errors import ParameterError
from medley.lm.importing import import_quickly
from medley.lm.quiet import silence_proposals
from medley.options import describe
from trainers.adapter_kinds import with_rate
from trainers.dpo_options import DPOOptions
from trainers.grpo_options import GRPOOptions
from trainers.kto_options import KTOOptions
from trainers.ppo_options import PPOOptions
from trainers.reward_options import RewardOptions
from trainers.reward_words import adapters_in, with_adapters
from trainers.sft_options import SFTOptions
from trainers.work import TrainResult, TrainWork


def _no_adapters(options: Any) -> tuple[str, ...]:
    return ()


def _unchanged(options: Any, pinned: Mapping[str, str]) -> Any:
    return options


def _settled(options: Any, init_adapter: Path | None) -> Any:
    return options


@dataclass(frozen=True)
class Trainer:
    """A row of the table.

    Attributes:
        name: as on the command line.
        goal: what a person wants who takes it, in their words.
        data_kinds: the kinds of dataset it learns from, of "sft", "preference", "unpaired" and "prompts"; the first
            is the one it is made for.
        options_class: its frozen options dataclass.
        module: where its `train` lives; imported when training starts.
        init_role: what the adapter named by `--from` is to the new one, in its lineage: "init" where training goes on
            from it, "reference" where it is also the frozen policy that the new one is held to.
        can_split: whether several processes can train together, each on rows of its own; not where a batch is judged as
            a whole.
        makes: "policy" for an adapter that writes answers, "reward" for one that scores them.
        adapters_in: the adapters that the options name, beside the one to start from.
        with_adapters: the same options with those names replaced (by `sha256:…`, so that a recipe stays true).
        settled: the same options with what was left open written out, given the adapter to start from.
    """

    name: str
    goal: str
    data_kinds: tuple[str, ...]
    options_class: type
    module: str
    init_role: str = "init"
    makes: str = "policy"
    can_split: bool = False
    adapters_in: Callable[[Any], tuple[str, ...]] = _no_adapters
    with_adapters: Callable[[Any, Mapping[str, str]], Any] = _unchanged
    settled: Callable[[Any, Path | None], Any] = _settled

    @property
    def start_kinds(self) -> tuple[str, ...]:
        """The kinds of adapter that training can go on from; a reward model keeps a DoRA's magnitudes too."""
        chosen = next((each.choices for each in describe(self.options_class) if each.name == "adapter"), ("lora",))
        return ("lora", "dora") if self.makes == "reward" else chosen

    def train(self, options: Any, work: TrainWork) -> TrainResult:
        """Run it to the end, to a stop or to an error; see `TrainWork` and `TrainResult`.

        Raises:
            ParameterError: the options want another number of processes than there are.
        """
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        if options.num_processes != processes:
            raise ParameterError(
                f"num_processes is {options.num_processes}, but the training was started with {processes}. "
                "`medley train` starts them; a script of your own is started by accelerate launch."
            )
        silence_proposals()
        with import_quickly():
            module = importlib.import_module(self.module)
        return module.train(options, work)


def _reward_adapters(options: PPOOptions | GRPOOptions) -> tuple[str, ...]:
    return adapters_in([word for words in _rewards_of(options).values() for word in words])


def _with_reward_adapters(options: PPOOptions | GRPOOptions, pinned: Mapping[str, str]) -> PPOOptions | GRPOOptions:
    replaced = {name: with_adapters(words, pinned) for name, words in _rewards_of(options).items()}
    return dataclasses.replace(options, **replaced)


def _rewards_of(options: PPOOptions | GRPOOptions) -> dict[str, tuple[str, ...]]:
    return {name: getattr(options, name) for name in ("reward", "gold_reward") if hasattr(options, name)}


TRAINERS: dict[str, Trainer] = {
    each.name: each
    for each in (
        Trainer("sft", "Teach by examples", ("sft",), SFTOptions, "trainers.sft", settled=with_rate, can_split=True),
        Trainer(
            "reward",
            "Train a reward model",
            ("preference",),
            RewardOptions,
            "trainers.reward",
            makes="reward",
            can_split=True,
        ),
        Trainer(
            "dpo",
            "Align by preferences",
            ("preference",),
            DPOOptions,
            "trainers.dpo",
            init_role="reference",
            can_split=True,
        ),
        Trainer(
            "kto",
            "Align by preferences",
            ("unpaired", "preference"),
            KTOOptions,
            "trainers.kto",
            init_role="reference",
        ),
        Trainer(
            "ppo",
            "Align by reward",
            ("prompts", "sft", "preference", "unpaired"),
            PPOOptions,
            "trainers.ppo",
            init_role="reference",
            adapters_in=_reward_adapters,
            with_adapters=_with_reward_adapters,
        ),
        Trainer(
            "grpo",
            "Align by reward",
            ("prompts", "sft", "preference", "unpaired"),
            GRPOOptions,
            "trainers.grpo",
            init_role="reference",
            adapters_in=_reward_adapters,
            with_adapters=_with_reward_adapters,
        ),
    )
}
