"""A planned push, done: one commit, compared with what we have, and tagged.

A repo is never deleted and no file in it removed. The commit carries its parent, so that two pushes cannot mix, and
nothing is visible before it. A second push of the same content finds it there and makes no commit; so does one whose
answer got lost on the way.
"""

import time
from typing import TYPE_CHECKING

from hub.deadline import default_timeout_s, run_within
from hub.plan import PushPlan
from hub.plan_texts import texts_of
from hub.push_steps import PushResult, PushSteps
from hub.remote import Token, checked_token, quiet_client
from medley.errors import HubError, StorageError
from medley.events import Emit, ignore_event

if TYPE_CHECKING:
    from hub.registry import Registry

__all__ = ["PushResult", "push"]


def push(
    registry: "Registry",
    plan: PushPlan,
    *,
    token: str | None,
    endpoint: str | None = None,
    emit: Emit = ignore_event,
    timeout_s: float | None = None,
) -> PushResult:
    """Publish what the plan lists.

    Args:
        token: with write access; kept in memory for this call and never written anywhere.
        endpoint: another Hub than huggingface.co.
        timeout_s: when to give up, in seconds; by default three minutes and what a slow line needs for the bytes.

    Raises:
        HubError, ProblemsError: a check refuses the plan, or the Hub does; the message says what to do.
    """
    plan.require_ok()
    checked = checked_token(token)
    if not checked:
        raise HubError(
            f"A push to {plan.repo_id} needs a token with write access (https://huggingface.co/settings/tokens)."
        )
    _refuse_own_token(plan, checked)
    timeout_s = timeout_s or default_timeout_s(plan.total_bytes)
    too_late = (
        f"The Hub did not take {plan.repo_id} within {timeout_s:g} seconds. Nothing half done is visible there: "
        "push again when the connection is better."
    )
    with quiet_client():
        result = run_within(
            timeout_s, lambda deadline: PushSteps(plan, checked, endpoint, emit, deadline).run(), too_late
        )
    _record(registry, plan, result, emit)
    return result


def _refuse_own_token(plan: PushPlan, token: Token) -> None:
    for name, content in plan.contents.items():
        if any(str(token) in text for text in texts_of(name, content)):
            raise HubError(f"{name} holds the very token of this push. Remove it from there and revoke it.")


def _record(registry: "Registry", plan: PushPlan, result: PushResult, emit: Emit) -> None:
    """Remember in the registry where the version was published; the push stands even if that fails."""
    entry = {"repo_id": plan.repo_id, "commit": result.commit, "tag": result.tag, "url": result.url}
    try:
        known = registry.get(plan.version_id).metadata.get("published") or []
        others = [old for old in known if (old["repo_id"], old["commit"]) != (plan.repo_id, result.commit)]
        registry.update_metadata(plan.version_id, published=[*others, {**entry, "time": round(time.time(), 3)}])
    except StorageError as error:
        emit("warning", text=f"Published, but the registry could not note it: {error}")
