"""A comparison of adapter types, drawn: what each learned and forgot, and what it cost."""

from collections.abc import Sequence

from hub import Version
from medley.jobs.type_report import REPORT_TYPE, TypeRow, read_type_report
from medley.ui import markup
from medley.ui.numbers import count_text, duration_text, number_text, size_text
from medley.ui.scatter import Spot, scatter

HEADERS = ("Type", "Eval loss", "Forgetting", "Right tokens", "Peak memory", "Time", "File", "Trained numbers")
READING = (
    "Left and low is best: it learned the dataset and kept what it knew. The dashed line joins the types that no other "
    "one beats both ways; bars are two standard errors."
)


def is_type_report(version: Version) -> bool:
    """Whether a version is such a comparison."""
    return version.kind == "report" and version.metadata.get("report") == REPORT_TYPE


def report_view(version: Version) -> str:
    """The table of a report version, and its learning against its forgetting.

    Raises:
        StorageError: the report cannot be read.
    """
    return rows_view(read_type_report(version))


def rows_view(rows: Sequence[TypeRow]) -> str:
    """The same for rows, best held-out loss first."""
    if not rows:
        return markup.empty("Nothing compared", "No type was trained to its end.")
    before = f"Before training the eval loss was {number_text(rows[0].eval_loss_before)} nats per token."
    cells = [_cells(row) for row in rows]
    spots = [Spot(row.adapter, row.forgetting, row.eval_loss, row.forgetting_error) for row in rows]
    return (
        f'<p class="m-quiet m-gap">{markup.escape(before)} Forgetting is how much the loss on general text rose.</p>'
        + markup.table(HEADERS, cells, numeric=range(1, len(HEADERS)))
        + f'<h3 class="m-sub">Learning and forgetting</h3><p class="m-quiet m-gap">{markup.escape(READING)}</p>'
        + scatter(spots, x_name="forgetting in nats per token", y_name="eval loss in nats per token")
    )


def _cells(row: TypeRow) -> list[str]:
    return [
        f"<b>{markup.escape(row.adapter)}</b>",
        number_text(row.eval_loss),
        f"{row.forgetting:+.3f} ± {2 * row.forgetting_error:.3f}",
        f"{100 * row.token_accuracy:.1f} %",
        size_text(row.memory_max),
        duration_text(row.train_time),
        size_text(row.file_size),
        count_text(row.num_trainable_params),
    ]
