"""The same prompts answered by several panes: the records, the behaviours they show, and files to keep them in.

Here: running and summing up. Not here: opening panes (panes.py), printing (the CLI), streaming one prompt (the app).
"""

import html
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import DatasetError, NotFoundError, ParameterError, StorageError
from medley.events import Emit, ignore_event

if TYPE_CHECKING:
    from medley.jobs.panes import OpenPanes
    from medley.lm.sampling import Sampling

Check = Callable[[str], bool]


@dataclass(frozen=True)
class Answer:
    """One pane's answer to one prompt.

    Attributes:
        pane: the pane's label.
        blend: digest -> weight of the adapters that produced it; empty for the base itself.
        prompt: the user's message.
        text: the answer.
        finish_reason: "stop" (the model ended its turn), "length" or "stopped".
        new_tokens: tokens generated.
    """

    pane: str
    blend: dict[str, float]
    prompt: str
    text: str
    finish_reason: str
    new_tokens: int


def read_prompts(path: Path) -> list[str]:
    """One prompt a line of a text file, or the `prompt` of each line of a .jsonl file.

    Raises:
        NotFoundError: there is no such file.
        DatasetError: it cannot be read, or holds no prompt.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file {path} with prompts.") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"The prompts in {path} are not UTF-8 text.") from error
    except OSError as error:
        raise DatasetError(f"The prompts in {path} cannot be read: {error.strerror or error}.") from error
    prompts = [_prompt_of(line, number) for number, line in enumerate(lines, 1)] if path.suffix == ".jsonl" else lines
    if not prompts:
        raise DatasetError(f"{path} holds no prompts: write one a line.")
    return prompts


def _prompt_of(line: str, number: int) -> str:
    try:
        return str(json.loads(line)["prompt"])
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f'Line {number} of the prompts is not like {{"prompt": "…"}}.') from error


def compare(
    panes: "OpenPanes", prompts: Sequence[str], sampling: "Sampling", emit: Emit = ignore_event
) -> list[Answer]:
    """Every pane's answer to every prompt, in the order of the prompts, then of the panes."""
    answers = []
    for number, prompt in enumerate(prompts, 1):
        histories = [[{"role": "user", "content": prompt}] for _ in panes.labels]
        for label, reply in zip(panes.labels, panes.generate(histories, sampling), strict=True):
            answers.append(
                Answer(label, dict(reply.blend), prompt, reply.text.strip(), reply.finish_reason, reply.new_tokens)
            )
        emit("progress", step=number, total=len(prompts), text="Comparing")
    return answers


def shares(answers: Sequence[Answer], checks: dict[str, Check]) -> dict[str, dict[str, float]]:
    """For each pane and each behaviour, the share of its answers that show it."""
    panes = list(dict.fromkeys(answer.pane for answer in answers))
    table = {}
    for pane in panes:
        texts = [answer.text for answer in answers if answer.pane == pane]
        table[pane] = {name: sum(check(text) for text in texts) / len(texts) for name, check in checks.items()}
    return table


def write_answers(answers: Sequence[Answer], path: Path) -> None:
    """Keep the answers as .jsonl (a record a line) or .html (a page that needs nothing else).

    Raises:
        ParameterError, NotFoundError: as `check_answers_path`.
        StorageError: it cannot be written.
    """
    check_answers_path(path)
    if path.suffix == ".jsonl":
        text = "".join(json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in answers)
    else:
        text = as_page(answers)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The answers could not be written to {path}: {error.strerror or error}.") from error


def check_answers_path(path: Path) -> None:
    """Nothing, if answers can be kept there; asked before the first one is made.

    Raises:
        ParameterError: a suffix that stands for no format.
        NotFoundError: its folder is not there.
    """
    if path.suffix not in (".jsonl", ".html"):
        raise ParameterError(f"The answers are written as .jsonl or .html, got {path.name}.")
    if not path.absolute().parent.is_dir():
        raise NotFoundError(f"There is no folder {path.absolute().parent}. Make it first.")


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Medley comparison</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #1c1917; background: #f5f5f4 }}
table {{ border-collapse: collapse; background: #fff }}
th, td {{ border: 1px solid #d6d3d1; padding: .6rem .8rem; text-align: left; vertical-align: top; min-width: 12rem }}
td {{ white-space: pre-wrap }}
</style>
<table><thead><tr><th>prompt</th>{heads}</tr></thead><tbody>{rows}</tbody></table></html>
"""


def as_page(answers: Sequence[Answer]) -> str:
    """A self-contained HTML table: a row a prompt, a column a pane; every text is escaped."""
    panes = list(dict.fromkeys(answer.pane for answer in answers))
    by_prompt: dict[str, dict[str, str]] = {}
    for answer in answers:
        by_prompt.setdefault(answer.prompt, {})[answer.pane] = answer.text
    heads = "".join(f"<th>{html.escape(pane)}</th>" for pane in panes)
    rows = "".join(_row(prompt, [texts.get(pane, "") for pane in panes]) for prompt, texts in by_prompt.items())
    return PAGE.format(heads=heads, rows=rows)


def _row(prompt: str, texts: Sequence[str]) -> str:
    cells: list[Any] = [f"<td>{html.escape(text)}</td>" for text in (prompt, *texts)]
    return f"<tr>{''.join(cells)}</tr>"
