"""Message trees: the threads and the ranked pairs that one tree holds, and what is left out of it."""

from collections.abc import Callable
from typing import Any

from tests.corpus.reading import Imported, assistant, user

Import = Callable[..., Imported]


def asked(text: str, *replies: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"text": text, "role": "prompter", "replies": list(replies), **more}


def said(text: str, *replies: dict[str, Any], rank: int | None = None, **more: Any) -> dict[str, Any]:
    return {"text": text, "role": "assistant", "rank": rank, "replies": list(replies), **more}


def tree(prompt: dict[str, Any]) -> dict[str, Any]:
    return {"message_tree_id": prompt["text"], "tree_state": "ready_for_export", "prompt": prompt}


def test_a_thread_follows_the_best_answer_and_a_fork_trains_only_on_what_is_new(imported: Import) -> None:
    forked = said(
        "good",
        asked("more?", said("more")),
        asked("less?", said("less", rank=1), said("least", rank=0)),
        asked("well?"),
        rank=0,
    )
    result = imported([tree(asked("Q", said("bad", rank=1), forked))])
    assert result.train == [
        {"prompt": [user("Q")], "completion": [assistant("good"), user("more?"), assistant("more")]},
        {"prompt": [user("Q"), assistant("good"), user("less?")], "completion": [assistant("least")]},
    ]
    assert result.report.dropped == {"ranked below another answer": 2, "no answer": 1}
    assert (result.report.format, result.report.kind, result.report.found["rows"]) == ("oasst", "sft", 5)


def test_the_last_answer_of_each_thread_alone(imported: Import) -> None:
    forked = said("good", asked("more?", said("more")), asked("less?", said("less")))
    result = imported([tree(asked("Q", forked))], turns="last")
    assert result.train == [
        {"prompt": [user("Q"), assistant("good"), user("more?")], "completion": [assistant("more")]},
        {"prompt": [user("Q"), assistant("good"), user("less?")], "completion": [assistant("less")]},
    ]


def test_deleted_and_rejected_messages_go_with_all_that_follows_them(imported: Import) -> None:
    gone = said("gone", asked("still?", said("here")), rank=0, deleted=True)
    failed = said("failed", rank=1, review_result=False)
    unseen = said("kept", rank=2, review_result=None)
    result = imported([tree(asked("Q", gone, failed, unseen)), tree(asked("R", review_result=False))])
    assert result.train == [{"prompt": [user("Q")], "completion": [assistant("kept")]}]
    assert result.report.dropped == {"message that reviewers rejected": 2, "deleted message": 1}


def test_ranked_replies_become_at_most_three_pairs_the_furthest_apart_first(imported: Import) -> None:
    ranked = [said(f"answer {rank}", rank=rank) for rank in (2, 0, 3, 1)]
    result = imported([tree(asked("Q", *ranked))], format="oasst-preference")
    pairs = [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in result.train]
    # of six pairs the ranks differ by 3 in (0, 3), by 2 in (0, 2) and (1, 3), by 1 in the rest
    assert pairs == [("answer 0", "answer 3"), ("answer 0", "answer 2"), ("answer 1", "answer 3")]
    assert {row["prompt"][0]["content"] for row in result.train} == {"Q"}
    assert (result.report.kind, result.report.found["rows"]) == ("preference", 3)


def test_pairs_are_made_at_every_depth_but_not_of_ties_or_unranked_replies(imported: Import) -> None:
    deeper = asked("So?", said("yes", rank=0), said("no", rank=1))
    replies = [said("a", deeper, rank=1), said("b", rank=1), said("c"), said("d", rank=0, deleted=True)]
    result = imported([tree(asked("Q", *replies))], format="oasst-preference")
    assert result.train == [
        {
            "prompt": [user("Q"), assistant("a"), user("So?")],
            "chosen": [assistant("yes")],
            "rejected": [assistant("no")],
        }
    ]
    assert result.report.dropped == {"deleted message": 1}


def test_no_conversation_of_a_tree_is_on_the_other_side_of_the_split(imported: Import) -> None:
    trees = [
        tree(
            asked(f"Q{n}", said("x", asked("deeper?", said("y", rank=0), said("z", rank=1)), rank=0), said("w", rank=1))
        )
        for n in range(20)
    ]
    result = imported(trees, format="oasst-preference", eval_share=0.25)
    sides = [{row["prompt"][0]["content"] for row in part} for part in (result.train, result.held_out)]
    assert (len(sides[0]), len(sides[1]), sides[0] & sides[1]) == (15, 5, set())
    assert (len(result.train), len(result.held_out)) == (30, 10)
    assert result.report.prompts == {"train": 30, "eval": 10}
