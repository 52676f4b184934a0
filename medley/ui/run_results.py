"""What came of a run, in plain words, and what can be done with it now."""

from collections.abc import Mapping
from typing import Any

from hub import Version
from medley.jobs import Job
from medley.ui import markup
from medley.ui.numbers import number_text
from medley.ui.workspace import Workspace, attempt
from trainers import TRAINERS


def outcome(workspace: Workspace, job: Job) -> str:
    """For a finished run: what its last measurements mean, in a sentence or two; nothing before."""
    version = _made(workspace, job)
    if version is None:
        return ""
    good, bad = sentences(version.metadata.get("metrics") or {})
    return markup.notice("good", "\n".join(good)) + markup.notice("warn", "\n".join(bad))


def sentences(metrics: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What the final numbers of a run mean: what is as it should be, and what is not."""
    numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float))}
    good, bad = [], []
    for is_good, text in (*_accuracy(numbers), *_reward(numbers), *_change(numbers), *_distance(numbers)):
        (good if is_good else bad).append(text)
    return good, bad


def _accuracy(numbers: Mapping[str, float]) -> list[tuple[bool, str]]:
    """Of a reward model: how often it is right, beside the better length rule."""
    if "eval_accuracy_low" not in numbers:
        share = numbers.get("eval_rewards/accuracies")
        return [] if share is None else [(True, f"{share:.0%} of the eval pairs have the chosen answer ahead.")]
    half = (numbers["eval_accuracy_high"] - numbers["eval_accuracy_low"]) / 2
    right = f"Accuracy {numbers['eval_accuracy']:.2f} ± {half:.2f} on held-out pairs"
    rule = max(("longer_wins", "shorter_wins"), key=lambda name: numbers.get(f"eval_{name}", 0.0))
    beats = numbers.get("eval_gain_low", 0.0) > 0
    against = f"{numbers.get(f'eval_{rule}', 0.5):.2f} for '{rule.replace('_', ' ')}'"
    return [(beats, f"{right}, against {against}: it {'beats' if beats else 'does not beat'} that rule.")]


def _reward(numbers: Mapping[str, float]) -> list[tuple[bool, str]]:
    """Of a policy with a reward: what it earned at first and at the end, and what the gold reward says of it."""
    found = []
    for name, word in (("scores", "Reward"), ("gold", "Gold reward")):
        if f"{name}_before" in numbers and name in numbers:
            before, after = numbers[f"{name}_before"], numbers[name]
            found.append((after > before - 0.005, f"{word} {before:.2f} at first, {after:.2f} at the end."))
    return found


def _change(numbers: Mapping[str, float]) -> list[tuple[bool, str]]:
    if "eval_loss_before" not in numbers or "eval_loss" not in numbers:
        return []
    before, after = numbers["eval_loss_before"], numbers["eval_loss"]
    return [(after <= before, f"Eval loss {number_text(before)} before, {number_text(after)} after.")]


def _distance(numbers: Mapping[str, float]) -> list[tuple[bool, str]]:
    name = next((name for name in ("kl/sequence", "kl") if name in numbers), None)
    if name is None:
        return []
    error = numbers.get(f"{name}_se")
    spread = "" if error is None else f" ± {2 * error:.2g}"
    return [(True, f"KL to the reference: {numbers[name]:.2g}{spread} nats an answer.")]


def next_steps(workspace: Workspace, job: Job) -> str:
    """The ways on from a finished run, the most useful first."""
    if job.kind == "compare-types" and job.state == "done":
        table = markup.button_link("registry", "See the table", {"name": job.output_name}, is_primary=True)
        return f'<div class="m-side m-next">{table}</div>'
    version = _made(workspace, job)
    if version is None:
        return ""
    if version.metadata.get("adapter_kind") == "reward":
        score = markup.button_link("registry", "Score answers with it", {"name": version.label}, is_primary=True)
        ways = [score, *reward_ways(version)]
    else:
        ways = policy_ways(workspace, version)
    return f'<div class="m-side m-next">{"".join(ways)}</div>'


def reward_ways(version: Version) -> list[str]:
    """What a reward model is for beside scoring: to be the reward of a policy."""
    ways = [
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
