"""Named points in a plane where less is better both ways, with the line of those that no other one beats."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from medley.ui.charts import tick_text, ticks
from medley.ui.markup import escape
from medley.ui.numbers import number_text


@dataclass(frozen=True)
class Spot:
    """A named point; `error` is the standard error of x, drawn as a bar of two of them each way."""

    name: str
    x: float
    y: float
    error: float = 0.0


def pareto(spots: Sequence[Spot]) -> list[Spot]:
    """The spots that no other one beats both ways, by growing x."""
    best: list[Spot] = []
    for spot in sorted(spots, key=lambda each: (each.x, each.y)):
        if not best or spot.y < best[-1].y:
            best.append(spot)
    return best


def scatter(spots: Sequence[Spot], *, x_name: str, y_name: str) -> str:
    """The points with their names and a line along the best ones; the figures are in the tooltips."""
    if not spots:
        return '<div class="m-chart m-blank"><span>No points yet.</span></div>'
    xs = [end for each in spots for end in (each.x - 2 * each.error, each.x + 2 * each.error)]
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(each.y for each in spots), max(each.y for each in spots))

    def place(x: float, y: float) -> tuple[float, float]:
        left = 100 * (x - x_ticks[0]) / ((x_ticks[-1] - x_ticks[0]) or 1)
        return left, 100 - 100 * (y - y_ticks[0]) / ((y_ticks[-1] - y_ticks[0]) or 1)

    grid = "".join(f'<path class="m-grid" d="M0 {place(0, y)[1]:.2f}H100"/>' for y in y_ticks)
    best = pareto(spots)
    corners = [place(best[0].x, best[0].y)]
    for before, after in pairwise(best):
        corners += [place(after.x, before.y), place(after.x, after.y)]
    path = "M" + "L".join(f"{left:.2f} {top:.2f}" for left, top in corners)
    line = f'<path class="m-line m-stone m-dashed" d="{path}"/>' if len(best) > 1 else ""
    bars = "".join(
        _bar(place(each.x - 2 * each.error, each.y), place(each.x + 2 * each.error, each.y)) for each in spots
    )
    labels = "".join(
        f'<span class="m-y" style="top:{place(0, y)[1]:.1f}%">{tick_text(y, y_ticks)}</span>' for y in y_ticks
    )
    labels += "".join(
        f'<span class="m-x" style="left:{place(x, 0)[0]:.1f}%">{tick_text(x, x_ticks)}</span>' for x in x_ticks
    )
    dots = "".join(_dot(spot, *place(spot.x, spot.y), x_name, y_name) for spot in spots)
    summary = f"{y_name} against {x_name}: " + "; ".join(_figures(spot, x_name, y_name) for spot in spots)
    return (
        f'<figure class="m-chart"><figcaption><span>{escape(y_name)}, upwards</span>'
        f'<span class="m-axis">{escape(x_name)}, to the right</span></figcaption>'
        f'<div class="m-plot" role="img" aria-label="{escape(summary)}"><svg viewBox="0 0 100 100" '
        f'preserveAspectRatio="none" aria-hidden="true">{grid}{line}{bars}</svg>{dots}{labels}</div></figure>'
    )


def _bar(left: tuple[float, float], right: tuple[float, float]) -> str:
    return f'<path class="m-mark" d="M{left[0]:.2f} {left[1]:.2f}H{right[0]:.2f}"/>' if left != right else ""


def _dot(spot: Spot, left: float, top: float, x_name: str, y_name: str) -> str:
    side = " m-spot-left" if left > 75 else ""
    title = escape(_figures(spot, x_name, y_name))
    return (
        f'<i class="m-spot{side}" style="left:{left:.1f}%;top:{top:.1f}%" title="{title}">'
        f"<span>{escape(spot.name)}</span></i>"
    )


def _figures(spot: Spot, x_name: str, y_name: str) -> str:
    error = f" ± {number_text(2 * spot.error)}" if spot.error else ""
    return f"{spot.name}: {y_name} {number_text(spot.y)}, {x_name} {number_text(spot.x)}{error}"
