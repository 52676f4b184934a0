"""A run's measured numbers drawn by the table of charts; another run lies over it, dashed.

What the table does not know is drawn all the same, one small chart a name, so that no number is lost.
"""

from collections.abc import Sequence

from medley.ui import charts, markup
from medley.ui.chart_table import CHARTS, Chart
from medley.ui.charts import Series
from medley.ui.run_view import RunView

TONES = ("teal", "amber", "plum", "stone")
NOT_DRAWN = ("epoch", "num_tokens")
EVAL = "eval_"
FIRST_POINT = "The first point appears after the first steps."


def main_charts(view: RunView, beside: RunView | None = None) -> str:
    """The charts that say how the run goes: the first one large, the others in two columns.

    Args:
        view: the run that the page is about.
        beside: another run, drawn dashed.
    """
    drawn = [each for each in CHARTS if each.is_main and _series(each, view, beside)]
    if not drawn:
        return markup.heading("Curves") + charts.line_chart([], x_name="step", y_name="", empty_text=FIRST_POINT)
    return _grid(drawn, view, beside, has_large=True)


def more_charts(view: RunView, beside: RunView | None = None) -> str:
    """The folded ones: those of the table, then one for each metric that the table does not know."""
    known = [each for each in CHARTS if not each.is_main and _series(each, view, beside)]
    drawn = [*known, *_unknown(view, beside)]
    return _grid(drawn, view, beside) if drawn else '<p class="m-quiet">Nothing else was measured yet.</p>'


def headline(view: RunView, limit: int | None = None) -> list[tuple[str, float]]:
    """The newest values of the main charts' curves, with their names: the first `limit`, or all."""
    found = []
    for chart in (each for each in CHARTS if each.is_main):
        here = {legend: view.latest[metric] for metric, legend in chart.curves.items() if metric in view.latest}
        for legend, value in here.items():
            is_whole = chart.title.lower() in legend  # "eval loss" needs no "loss" before it
            name = legend if is_whole else chart.title if len(here) == 1 else f"{chart.title}, {legend}"
            found.append((name[:1].upper() + name[1:], value))
    return found[:limit]


def _grid(drawn: Sequence[Chart], view: RunView, beside: RunView | None, *, has_large: bool = False) -> str:
    boxes = "".join(
        f'<div class="m-chartbox"><h3>{markup.escape(each.title)}</h3><p>{markup.escape(each.reading)}</p>'
        + charts.line_chart(
            _series(each, view, beside), x_name="step", y_name=each.title.lower(), is_low=not (has_large and i == 0)
        )
        + "</div>"
        for i, each in enumerate(drawn)
    )
    return f'<div class="m-charts{" m-large-first" if has_large else ""}">{boxes}</div>'


def _series(chart: Chart, view: RunView, beside: RunView | None) -> list[Series]:
    series = _curves(chart, view)
    if beside is not None:
        series += [
            Series(f"{each.name}, {beside.job_id}", each.points, each.tone, is_dashed=True)
            for each in _curves(chart, beside)
        ]
    return series


def _curves(chart: Chart, view: RunView) -> list[Series]:
    legends = list(dict.fromkeys(chart.curves.values()))
    return [
        Series(legend, points, TONES[legends.index(legend) % len(TONES)])
        for metric, legend in chart.curves.items()
        if (points := view.curve(metric))
    ]


def _unknown(view: RunView, beside: RunView | None) -> list[Chart]:
    known = {metric for chart in CHARTS for metric in chart.curves}
    seen = [name for name in (*view.metrics, *(beside.metrics if beside else ())) if name not in known]
    names = [name for name in dict.fromkeys(name.removeprefix(EVAL) for name in seen) if name not in NOT_DRAWN]
    return [Chart(_title(name), "", {name: "training", f"{EVAL}{name}": "eval"}, is_main=False) for name in names]


def _title(metric: str) -> str:
    words = metric.replace("_", " ").replace("/", ", ")
    return words[:1].upper() + words[1:]
