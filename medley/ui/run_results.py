"""What came of a run, in plain words, and what can be done with it now."""

from collections.abc import Mapping
from typing import Any

from hub import Version
from medley.jobs import Job
from medley.ui import markup
from medley.ui.numbers import number_text
from medley.ui.workspace import Workspace, attempt
from trainers import TRAINERS

DOES_NOT_BEAT = "does not beat"


def outcome(workspace: Workspace, job: Job) -> str:
    """For a finished run: what its last measurements mean, in a sentence or two; nothing before."""
    version = _made(workspace, job)
    if version is None:
        return ""
    lines = sentences(str(version.metadata.get("trainer", "")), version.metadata.get("metrics") or {})
    tone = "warn" if any(DOES_NOT_BEAT in line for line in lines) else "good"
    return markup.notice(tone, "\n".join(lines)) if lines else ""


def sentences(trainer: str, metrics: Mapping[str, Any]) -> list[str]:
    """What the final numbers of a run mean."""
    numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float))}
    return [*_accuracy(numbers), *_change(numbers), *_distance(numbers)]


def _accuracy(numbers: Mapping[str, float]) -> list[str]:
    prefix = next((prefix for prefix in ("eval_", "held_out_", "") if f"{prefix}accuracy_low" in numbers), None)
    if prefix is None:
        return []
    half = (numbers[f"{prefix}accuracy_high"] - numbers[f"{prefix}accuracy_low"]) / 2
    rules = {
        rule: numbers[f"{prefix}{rule}_wins"] for rule in ("longer", "shorter") if f"{prefix}{rule}_wins" in numbers
    }
    right = f"Accuracy {numbers[f'{prefix}accuracy']:.2f} ± {half:.2f} on held-out pairs"
    if not rules:
        return [f"{right}; chance is 0.50."]
    best = max(rules, key=lambda rule: rules[rule])
    beats = numbers.get(f"{prefix}gain_low", 0.0) > 0
    return [
        f"{right}, against {rules[best]:.2f} for '{best} wins': it {'beats' if beats else DOES_NOT_BEAT} that rule."
    ]


def _change(numbers: Mapping[str, float]) -> list[str]:
    if "eval_loss_before" not in numbers or "eval_loss" not in numbers:
        return []
    before, after = numbers["eval_loss_before"], numbers["eval_loss"]
    return [f"Eval loss {number_text(before)} before, {number_text(after)} after."]


def _distance(numbers: Mapping[str, float]) -> list[str]:
    name = next(
        (name for name in ("kl_to_reference", "sampled_kl", "kl_sequence", "objective/kl") if name in numbers), None
    )
    return [f"KL to the reference {number_text(numbers[name])} nats an answer."] if name else []


def next_steps(workspace: Workspace, job: Job) -> str:
    """The ways on from a finished run, the most useful first."""
    version = _made(workspace, job)
    if version is None:
        return ""
    ways = reward_ways(version) if version.metadata.get("adapter_kind") == "reward" else policy_ways(workspace, version)
    return f'<div class="m-side m-next">{"".join(ways)}</div>'


def reward_ways(version: Version) -> list[str]:
    """What a reward model is for: to score answers, and to be the reward of a policy."""
    ways = [markup.button_link("registry", "Score answers with it", {"name": version.label}, is_primary=True)]
    ways += [
        markup.button_link("train", f"Use as reward in {name.upper()}", {"trainer": name, "reward": version.name})
        for name in ("ppo", "grpo")
        if name in TRAINERS
    ]
    return [*ways, markup.button_link("publish", "Publish", {"name": version.label})]


def policy_ways(workspace: Workspace, version: Version) -> list[str]:
    """What an adapter that writes can do: be compared, aligned, blended, published."""
    parents = _parent_adapters(workspace, version)
    text = "Compare with its parents" if parents else "Compare with its base"
    panes = ",".join(["base", *parents, version.label])
    ways = [markup.button_link("compare", text, {"panes": panes}, is_primary=True)]
    if version.metadata.get("trainer") == "sft":
        ways += [
            markup.button_link("train", text, {"trainer": name, "from": version.name})
            for name, text in (("dpo", "Train DPO from this"), ("reward", "Train a reward model from this"))
            if name in TRAINERS
        ]
    return [
        *ways,
        markup.button_link("merge", "Blend it", {"adapters": version.label}),
        markup.button_link("registry", "Look at it", {"name": version.label}),
        markup.button_link("publish", "Publish", {"name": version.label}),
    ]


def _parent_adapters(workspace: Workspace, version: Version) -> list[str]:
    """The labels of the adapters that it was started from or held to; reward models do not write."""
    found = workspace.registry.parents(version.id)
    return [parent.label for role, parent in found if parent and role in ("init", "reference")]


def _made(workspace: Workspace, job: Job) -> Version | None:
    """The version that the run published under its name, if it is still there."""
    if job.state != "done" or not job.result or job.kind != "train":
        return None
    listed = attempt(lambda: workspace.registry.versions(job.output_name))[0] or []
    return next((version for version in listed if version.id == job.result), None)
