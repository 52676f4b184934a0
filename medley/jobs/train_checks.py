"""The cheap checks of a training before it is queued: that its start, its rewards and its base go with its options.

All of it is read from the registry's records and from configurations; no weights are opened.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medley.errors import BaseModelError, NotFoundError, ParameterError, ProblemsError
from medley.jobs.estimate import known_facts
from medley.jobs.tracking import check_tracker

if TYPE_CHECKING:
    from hub import Registry, Version
    from medley.lm.base_facts import BaseFacts
    from trainers import Trainer


def check_running(row: "Trainer", options: Any) -> None:
    """Nothing, if the trainer can run in the way that the options say."""
    check_tracker(options.log_to)
    if options.num_processes > 1 and not row.can_split:
        raise ParameterError(
            f"{row.name} trains in one process only, got num_processes={options.num_processes}. Leave it at 1."
        )


def check_start(start: "Version", row: "Trainer") -> None:
    """Nothing, if the trainer can go on from this adapter.

    Raises:
        ParameterError: it is of another kind, or more than this trainer carries on.
    """
    from hub.reward_words import cannot, is_reward
    from medley.lm.adapter_file import read_config

    if is_reward(start.metadata) and row.makes != "reward":
        raise ParameterError(cannot(start.label, f"be trained on by {row.name}"))
    config = read_config(start.path)
    if config.kind not in row.start_kinds:
        kinds = ", ".join(row.start_kinds)
        raise ParameterError(
            f"{row.name} goes on from adapters of type {kinds}, but {start.label} is {config.kind}. Choose another one."
        )
    if config.raw.get("prefix_projection"):
        raise ParameterError(
            f"The prefix {start.label} was trained with a projection, which is not saved. Start afresh."
        )
    if row.name == "ppo" and config.lora_bias:
        raise ParameterError(f"ppo goes on from plain LoRA adapters, but {start.label} has biases. Choose another one.")


def sizes_of(registry: "Registry", base: "Version") -> "BaseFacts | None":
    """The base's sizes, or None where they are not known: it is not on this machine, or its configuration is silent."""
    try:
        return known_facts(registry, base)
    except BaseModelError:  # told by the check of the memory, unless that is switched off
        return None


def check_shape(
    row: "Trainer", given: Mapping[str, Any], options: Any, facts: "BaseFacts | None", start: "Version | None"
) -> None:
    """Nothing, if the adapter can have the shape that was asked for.

    Args:
        given: the options as asked for, without defaults.
        options: all of them.
        facts: the base's sizes, or None while it is not on this machine.

    Raises:
        ProblemsError: layers or modules that the base does not have, or that are otherwise in the start.
    """
    from trainers.adapter_places import misplaced
    from trainers.start_shape import differences

    if start is not None:
        problems = differences(row.options_class, given, start.path, start.label, facts)
    else:
        problems = misplaced(facts, options) if facts else []
    if problems:
        raise ProblemsError("the options", problems)


def find_reward(registry: "Registry", ref: str) -> "Version":
    """The reward model that the options name.

    Raises:
        NotFoundError: there is no adapter of that name.
        ParameterError: an adapter that is none, or more than the LoRA that shares a base with the policy.
    """
    from hub.reward_words import is_reward
    from medley.lm.adapter_file import read_config
    from trainers.rewards import REWARDS

    try:
        version = registry.get(ref, "adapter")
    except NotFoundError as error:
        raise NotFoundError(
            f"{error} As a reward it could also be one of {', '.join(REWARDS)}; a comma parts rewards, but not inside "
            "the brackets of a pattern."
        ) from error
    if not is_reward(version.metadata):
        raise ParameterError(
            f"'{ref}' is not a reward model: it has no score head. Train one with: medley train reward"
        )
    config = read_config(version.path)
    if config.kind != "lora" or config.lora_bias:
        raise ParameterError(
            f"The reward model '{ref}' is {config.kind if config.kind != 'lora' else 'LoRA with biases'}. As a reward "
            "it shares the policy's base, which only plain LoRA can. Train one with: medley train reward"
        )
    return version


def find_data(registry: "Registry", ref: str, kinds: Sequence[str], trainer: str) -> "Version":
    """The dataset to learn from.

    Raises:
        ParameterError: it is of a kind that the trainer does not learn from.
    """
    version = registry.get(ref, "dataset")
    found = version.metadata.get("kind", kinds[0])
    if found not in kinds:
        wanted = " or ".join(kinds)
        raise ParameterError(
            f"{trainer} learns from {wanted} data, but '{ref}' is {found} data. Choose another dataset."
        )
    return version


def find_measured_data(registry: "Registry", ref: str, purpose: str) -> "Version":
    """The sft dataset to learn from, with an eval split to measure on.

    Args:
        purpose: for sentences, for example "Weights are learned from".

    Raises:
        ParameterError: it is data of another kind, or has no eval split.
    """
    version = registry.get(ref, "dataset")
    kind, splits = version.metadata.get("kind", "sft"), version.metadata.get("splits")
    if kind != "sft":
        raise ParameterError(f"{purpose} sft data, but '{ref}' is {kind} data. Choose another dataset.")
    if splits and not splits.get("eval"):
        raise ParameterError(f"'{ref}' has no eval split to measure on. Import it again with an eval share.")
    return version
