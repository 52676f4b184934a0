"""The five tasks of `benchmarks.merge_quality`: rows to train on, held-out items, and how an answer is judged.

Three are multiple choice (arc_easy, piqa, copa): the model is right when it finds the right choice likelier per
character than the others. Two are styles (pirate, tidy-list): it is right when its answer passes a program's check.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
CHOICE_TASKS = {"arc_easy": (200, 640), "piqa": (200, 640), "copa": (50, 50)}  # held-out items, rows to train on
STYLE_TASKS = {"pirate": "pirate.jsonl", "tidy-list": "tidy-list.json"}
STYLE_ITEMS = 50
TASKS = (*CHOICE_TASKS, *STYLE_TASKS)
NEEDS = ("arc_easy.jsonl", "piqa.jsonl", "copa.jsonl")


@dataclass(frozen=True)
class Item:
    """A held-out question.

    Attributes:
        task: a member of TASKS.
        prompt: what the user says.
        choices: possible answers; empty for a style, whose answer is written by the model.
        gold: the index of the right one.
    """

    task: str
    prompt: str
    choices: tuple[str, ...] = ()
    gold: int = 0


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def choice_items(task: str, data_dir: Path) -> tuple[list[Item], list[Item]]:
    """(held-out items, items to train on), the same split every time; no question is in both."""
    rows = read_jsonl(data_dir / "llm-foundry-icl" / f"{task}.jsonl")
    by_prompt = {_prompt(task, row["query"]): row for row in rows}
    prompts = sorted(by_prompt)
    random.Random(task).shuffle(prompts)
    items = [Item(task, each, tuple(by_prompt[each]["choices"]), by_prompt[each]["gold"]) for each in prompts]
    held_out, to_train = CHOICE_TASKS[task]
    return items[:held_out], items[held_out : held_out + to_train]


def _prompt(task: str, query: str) -> str:
    question = query.removeprefix("Question: ").strip()
    return f"Finish the sentence: {question}" if task == "copa" else question


def style_items(task: str, data_dir: Path) -> list[Item]:
    """Questions of alpaca-libre; both styles are judged on the same ones, so one answer can pass both checks."""
    rows = read_jsonl(data_dir / "alpaca-libre" / "alpaca_libre_tasks_v1.jsonl")
    asked = [row["instruction"].strip() for row in rows if row["status"] == "ok" and not row["input"].strip()]
    short = sorted({each for each in asked if each.endswith("?") and 20 <= len(each) <= 90})
    random.Random("styles").shuffle(short)
    return [Item(task, each) for each in short[:STYLE_ITEMS]]


def held_out(data_dir: Path) -> list[Item]:
    """Every item that is measured, in the order of the tasks."""
    choices = [item for task in CHOICE_TASKS for item in choice_items(task, data_dir)[0]]
    return choices + [item for task in STYLE_TASKS for item in style_items(task, data_dir)]


def training_file(task: str, data_dir: Path, folder: Path) -> Path:
    """The task's instruction data as a file that Medley imports."""
    if task in STYLE_TASKS:
        return EXAMPLES / STYLE_TASKS[task]
    rows = [
        {"instruction": item.prompt, "input": "", "output": item.choices[item.gold]}
        for item in choice_items(task, data_dir)[1]
    ]
    path = folder / f"{task}.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return path


def passes(task: str, answer: str) -> bool:
    """Whether an answer shows the style that the task teaches."""
    from medley.corpus.behaviours import BEHAVIOURS

    return BEHAVIOURS[task].check(answer)


def chosen(scores: Sequence[float], choices: Sequence[str]) -> int:
    """The choice that is likeliest per character (lm-evaluation-harness's acc_norm)."""
    return max(range(len(choices)), key=lambda index: scores[index] / max(1, len(choices[index])))
