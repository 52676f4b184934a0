"""Small pictures drawn as SVG and HTML in the page's own colours: curves, sparklines, bars, heat maps.

The plot stretches with its place while words keep their size, so a curve is readable on a phone. No script, no canvas,
no network; hovering shows the numbers through the browser's own tooltips.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from medley.ui.markup import escape
from medley.ui.numbers import number_text

MAX_NAMED_COLUMNS = 3  # of a heat map
MAX_POINTS = 400  # more cannot be told apart and would slow the page down


@dataclass(frozen=True)
class Series:
    """One curve: its name in the legend, (x, y) points by growing x, a tone, and its dash.

    A tone is teal, amber, stone, plum or ink. Curves of another run are dashed, to be told
    apart without colour.
    """

    name: str
    points: Sequence[tuple[float, float]]
    tone: str = "teal"
    is_dashed: bool = False

    @property
    def css(self) -> str:
        return f"m-{self.tone} m-dashed" if self.is_dashed else f"m-{self.tone}"


@dataclass(frozen=True)
class Mark:
    """A vertical line with a word, such as the chosen rank or the longest row allowed."""

    x: float
    text: str


def thin_out(points: Sequence[tuple[float, float]], limit: int = MAX_POINTS) -> list[tuple[float, float]]:
    """At most `limit` points spread evenly, the first and the last among them."""
    if len(points) <= limit:
        return list(points)
    step = (len(points) - 1) / (limit - 1)
    return [points[round(i * step)] for i in range(limit)]


def line_chart(
    series: Sequence[Series],
    *,
    x_name: str,
    y_name: str,
    marks: Sequence[Mark] = (),
    empty_text: str = "No points yet.",
    unit: str = "",
    is_low: bool = False,
) -> str:
    """Curves over a common x axis, with ticks, a legend and a tooltip at each x.

    `unit` stands behind the numbers of the y axis. `is_low` is for one chart among several with titles of their own: a
    lower plot, no axis name, no needless legend.
    """
    drawn = [replace(each, points=thin_out(_finite(each.points))) for each in series]
    drawn = [each for each in drawn if each.points]
    if not drawn:
        return f'<div class="m-chart m-blank"><span>{escape(empty_text)}</span></div>'
    xs = [x for each in drawn for x, _ in each.points] + [mark.x for mark in marks]
    ys = [y for each in drawn for _, y in each.points]
    x_ticks, y_ticks = ticks(min(xs), max(xs), whole=all(float(x).is_integer() for x in xs)), ticks(min(ys), max(ys))
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1e-9)
    y_low, y_high = min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        return 100 * (x - x_low) / (x_high - x_low), 100 - 100 * (y - y_low) / ((y_high - y_low) or 1)

    grid = "".join(f'<path class="m-grid" d="M0 {place(0, y)[1]:.2f}H100"/>' for y in y_ticks)
    lines = "".join(_line([place(x, y) for x, y in each.points], each.css) for each in drawn)
    flags = "".join(f'<path class="m-mark" d="M{place(mark.x, 0)[0]:.2f} 0V100"/>' for mark in marks)
    labels = "".join(
        f'<span class="m-y" style="top:{place(0, y)[1]:.1f}%">{tick_text(y, y_ticks)}{unit}</span>' for y in y_ticks
    )
    labels += _x_labels([(place(x, 0)[0], x) for x in x_ticks if x_low <= x <= x_high])
    labels += "".join(_flag(place(mark.x, 0)[0], mark.text) for mark in marks)
    plot = f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{grid}{flags}{lines}</svg>'
    caption = _low_caption(drawn) if is_low else _caption(drawn, x_name, y_name)
    return (
        f'<figure class="m-chart{" m-short" if is_low else ""}"><figcaption>{caption}</figcaption>'
        f'<div class="m-plot" role="img" aria-label="{escape(_summary(drawn, x_name, y_name, unit))}">'
        f"{plot}{_hover_bands(drawn, place, x_name, unit)}{labels}</div></figure>"
    )


def _caption(drawn: Sequence[Series], x_name: str, y_name: str) -> str:
    return f'{_legend(drawn)}<span class="m-axis">{escape(y_name)} by {escape(x_name)}</span>'


def _low_caption(drawn: Sequence[Series]) -> str:
    """A legend of the solid lines, if there are several."""
    named = [each for each in drawn if not each.is_dashed] or drawn
    return _legend(named) if len(named) > 1 else ""


def _summary(drawn: Sequence[Series], x_name: str, y_name: str, unit: str) -> str:
    """The chart in a sentence, for those who do not see it."""
    ends = [f"{each.name} ends at {number_text(each.points[-1][1])}{unit}" for each in drawn]
    return f"{y_name} over {x_name}: {'; '.join(ends)}"


def _x_labels(places: Sequence[tuple[float, float]]) -> str:
    """The numbers below the x axis, each at its place in percent."""
    return "".join(f'<span class="m-x" style="left:{left:.1f}%">{number_text(x)}</span>' for left, x in places)


def _flag(left: float, text: str) -> str:
    """The word at a mark; near the right end it stands left of its line."""
    css = "m-flag m-flag-left" if left > 80 else "m-flag"
    return f'<span class="{css}" style="left:{left:.1f}%">{escape(text)}</span>'


def _line(points: Sequence[tuple[float, float]], css: str) -> str:
    path = "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points)
    line = f'<path class="m-line {css}" d="{path}"/>'
    if len(points) <= 30:  # a dot is a line of no length with round ends: it keeps its shape when the plot stretches
        line += f'<path class="m-dots {css}" d="{"".join(f"M{x:.2f} {y:.2f}h0" for x, y in points)}"/>'
    return line


def _hover_bands(drawn: Sequence[Series], place: object, x_name: str, unit: str) -> str:
    at: dict[float, list[str]] = {}
    for each in drawn:
        for x, y in each.points:
            at.setdefault(x, []).append(f"{each.name} {number_text(y)}{unit}")
    xs = sorted(at)
    lefts = [place(x, 0)[0] for x in xs]  # type: ignore[operator]
    edges = [0.0, *[(a + b) / 2 for a, b in pairwise(lefts)], 100.0]
    return "".join(
        f'<i class="m-band" style="left:{left:.2f}%;width:{right - left:.2f}%;--at:{(lefts[i] - left):.2f}%" '
        f'title="{escape(x_name)} {number_text(x)}: {escape(", ".join(at[x]))}"></i>'
        for i, (x, left, right) in enumerate(zip(xs, edges, edges[1:], strict=False))
    )


def _legend(drawn: Sequence[Series]) -> str:
    return "".join(f'<span class="m-key {each.css}">{escape(each.name)}</span>' for each in drawn)


def sparkline(values: Sequence[float], name: str) -> str:
    """A curve the size of a word; empty where there are fewer than two values."""
    values = [value for value in values if math.isfinite(value)]
    if len(values) < 2:
        return '<span class="m-spark"></span>'
    points = thin_out(list(enumerate(values)), 60)
    low, high = min(values), max(values)
    last = points[-1][0] or 1
    place = [(100 * x / last, 30 - 28 * (y - low) / ((high - low) or 1)) for x, y in points]
    label = f"{name} from {number_text(values[0])} to {number_text(values[-1])}"
    return (
        f'<svg class="m-spark" viewBox="0 0 100 32" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f"<title>{escape(label)}</title>{_spark_path(place)}</svg>"
    )


def _spark_path(place: Sequence[tuple[float, float]]) -> str:
    return '<path class="m-line m-teal" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in place) + '"/>'


def bars(counts: Sequence[int], edges: Sequence[float], *, x_name: str, marks: Sequence[Mark] = ()) -> str:
    """A histogram: `counts[i]` things between `edges[i]` and `edges[i + 1]`."""
    if not counts or not any(counts):
        return '<div class="m-chart m-blank"><span>Nothing to count yet.</span></div>'
    low, high, top = edges[0], edges[-1], max(counts)

    def left(x: float) -> float:
        return 100 * min(1.0, max(0.0, (x - low) / ((high - low) or 1)))

    columns = "".join(
        f'<i class="m-column" style="left:{left(a):.2f}%;width:{max(0.4, left(b) - left(a) - 0.5):.2f}%;'
        f'height:{100 * count / top:.1f}%" title="{number_text(a)} to {number_text(b)} {escape(x_name)}: {count}"></i>'
        for count, a, b in zip(counts, edges, edges[1:], strict=False)
    )
    flags = "".join(f'<i class="m-rule" style="left:{left(m.x):.2f}%"></i>{_flag(left(m.x), m.text)}' for m in marks)
    labels = _x_labels([(left(x), x) for x in ticks(low, high, whole=True) if low <= x <= high])
    return (
        f'<figure class="m-chart m-low"><figcaption><span class="m-axis">rows by {escape(x_name)}</span></figcaption>'
        f'<div class="m-plot" role="img" aria-label="rows by {escape(x_name)}">{columns}{flags}{labels}'
        f'<span class="m-y" style="top:0">{top}</span></div></figure>'
    )


def heat_map(labels: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    """A square of cosines from -1 to 1; every cell shows its number, so colour is never all there is.

    Hovering says whose a cell is. Above more than three columns stand numbers instead of the labels, so that eight fit.
    """
    heads, sides, css = labels, labels, "m-heat"
    if len(labels) > MAX_NAMED_COLUMNS:
        heads, css = [str(number) for number in range(1, len(labels) + 1)], "m-heat m-many"
        sides = [f"{number} {label}" for number, label in zip(heads, labels, strict=True)]
    head = "".join(f'<th scope="col"><span>{escape(label)}</span></th>' for label in heads)
    rows = ""
    for side, label, row in zip(sides, labels, values, strict=True):
        cells = "".join(_heat_cell(label, other, value) for other, value in zip(labels, row, strict=True))
        rows += f'<tr><th scope="row"><span title="{escape(label)}">{escape(side)}</span></th>{cells}</tr>'
    table = f'<table class="{css}"><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="m-scroll">{table}</div>'


def _heat_cell(row: str, column: str, value: float) -> str:
    text = f"{value:.2f}"
    text = "0.00" if text == "-0.00" else text
    css = "m-self" if row == column else "m-minus" if text.startswith("-") else "m-plus"
    whose = row if row == column else f"{row} and {column}"
    share = round(100 * min(1.0, abs(value)))
    return f'<td style="--share:{share}%" class="{css}" title="{escape(whose)}: {text}">{text}</td>'


def ticks(low: float, high: float, *, whole: bool = False, count: int = 5) -> list[float]:
    """About `count` round numbers that enclose low … high."""
    span = (high - low) or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(span / count))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= count)
    if whole:
        step = max(1.0, step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def tick_text(value: float, all_ticks: Sequence[float]) -> str:
    """A tick's number, with as many digits as tell it from its neighbours."""
    step = all_ticks[1] - all_ticks[0] if len(all_ticks) > 1 else 0.0
    if not step or not 1e-3 <= max(abs(tick) for tick in all_ticks) < 1e5:
        return number_text(value)
    return f"{value:.{max(0, math.ceil(-math.log10(step) - 1e-9))}f}"


def _finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
