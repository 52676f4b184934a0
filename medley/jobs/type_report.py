"""The report of a comparison of adapter types: one row a type, with the columns of peft's method comparison.

`report.json` in a version of kind "report" holds it; the command line prints it and the app draws it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medley.errors import StorageError

if TYPE_CHECKING:
    from hub import Version

REPORT_FILE = "report.json"
REPORT_TYPE = "compare-types"  # what `metadata["report"]` of the version says


@dataclass(frozen=True)
class TypeRow:
    """One adapter type, trained on the same rows for the same number of steps as the others.

    The names are those of peft's method comparison where it has the column.

    Attributes:
        adapter: the type: "lora", "ia3", …
        eval_loss: mean cross-entropy of the held-out completions after training, in nats per token.
        eval_loss_before: the same before the first step.
        token_accuracy: share of held-out completion tokens that were the likeliest, in [0, 1].
        forgetting: how much the cross-entropy on general text rose with the adapter, in nats per token.
        forgetting_error: its standard error over the texts.
        memory_max: largest resident size of the training process less what it held after its imports, in bytes; on
            CUDA the largest allocation.
        train_time: seconds from the first optimizer step to the last, measurements included.
        file_size: adapter_model.safetensors in bytes.
        num_trainable_params: numbers that the optimizer moves.
        learning_rate: what it was trained with.
        train_loss: mean over the steps.
        steps: optimizer steps.
    """

    adapter: str
    eval_loss: float
    eval_loss_before: float
    token_accuracy: float
    forgetting: float
    forgetting_error: float
    memory_max: int
    train_time: float
    file_size: int
    num_trainable_params: int
    learning_rate: float
    train_loss: float
    steps: int


def read_type_report(version: "Version") -> list[TypeRow]:
    """The rows of a report version, best held-out loss first.

    Raises:
        StorageError: it holds no report of this kind.
    """
    return sorted(read_rows(version.path / REPORT_FILE), key=lambda row: row.eval_loss)


def read_rows(path: Path) -> list[TypeRow]:
    """The rows of a report.json, in its order; errors as in `read_type_report`."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return [TypeRow(**row) for row in report["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path.name} is not a comparison of adapter types.") from error


def write_report(path: Path, rows: Sequence[TypeRow], settings: Mapping[str, Any]) -> None:
    """Write report.json: what was the same for all, then the rows."""
    report = {"report": REPORT_TYPE, "settings": dict(settings), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
