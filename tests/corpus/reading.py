"""What the corpus tests read back of an import, and short forms for messages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medley.corpus import ImportReport, read_rows

Message = dict[str, str]


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def tool(text: str) -> Message:
    return {"role": "tool", "content": text}


def example(question: str, answer: str) -> dict[str, list[Message]]:
    return {"prompt": [user(question)], "completion": [assistant(answer)]}


def alpaca(question: str = "Why?", answer: str = "Because.", **columns: Any) -> dict[str, Any]:
    return {"instruction": question, "input": "", "output": answer, **columns}


@dataclass(frozen=True)
class Imported:
    """An import's report, its folder, and the rows of both splits."""

    report: ImportReport
    folder: Path
    train: list[dict[str, Any]]
    held_out: list[dict[str, Any]]

    @classmethod
    def read(cls, report: ImportReport, folder: Path) -> "Imported":
        return cls(report, folder, read_rows(folder, "train"), read_rows(folder, "eval"))
