"""Lineage drawn left to right: what a version was made from, itself, and what was made from it. Nodes are links."""

from collections.abc import Sequence

from hub import Version
from hub.lineage import Lineage
from medley.ui import markup

WIDTH, HEIGHT, GAP_X, GAP_Y = 190, 46, 56, 16
MAX_LETTERS = 22
MAX_NODES = 60
PAD = 4


def lineage_picture(lineage: Lineage) -> str:
    """An SVG with a box for each version and a curve for each "made from", as HTML."""
    nodes = lineage.nodes[-MAX_NODES:] if len(lineage.nodes) > MAX_NODES else lineage.nodes
    known = {node.id: node for node in nodes}
    edges = [edge for edge in lineage.edges if edge[0] in known and edge[1] in known]
    columns = _columns(list(known), edges)
    edges = _without_shortcuts(edges)
    place = _places(columns)
    width = len(columns) * (WIDTH + GAP_X) - GAP_X + 2 * PAD
    height = max(len(column) for column in columns) * (HEIGHT + GAP_Y) - GAP_Y + 2 * PAD
    curves = "".join(_curve(place[parent], place[child], role) for parent, child, role in edges)
    boxes = "".join(_box(known[id], place[id], is_here=id == lineage.root) for id in place)
    more = len(lineage.nodes) - len(nodes)
    note = f'<p class="m-quiet">{more} older versions are not drawn.</p>' if more else ""
    return (
        f'<div class="m-lineage" tabindex="0" role="group" aria-label="Lineage, left to right"><svg width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}">{curves}{boxes}</svg></div>{note}'
    )


def _columns(ids: Sequence[str], edges: Sequence[tuple[str, str, str]]) -> list[list[str]]:
    """Ids by their distance from the roots: every edge points to a column further right."""
    depth = dict.fromkeys(ids, 0)
    for _ in ids:  # at most one pass per id; the graph has no cycles
        moved = False
        for parent, child, _role in edges:
            if depth[child] <= depth[parent]:
                depth[child], moved = depth[parent] + 1, True
        if not moved:
            break
    columns: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for id in ids:
        columns[depth[id]].append(id)
    return columns


def _without_shortcuts(edges: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The edges without those that a longer way already shows, such as from the base to a merge of its adapters."""
    below: dict[str, set[str]] = {}
    for parent, child, _role in edges:
        below.setdefault(parent, set()).add(child)

    def reaches(start: str, goal: str, seen: set[str]) -> bool:
        for child in below.get(start, set()) - seen:
            seen.add(child)
            if child == goal or reaches(child, goal, seen):
                return True
        return False

    return [
        (parent, child, role)
        for parent, child, role in edges
        if not any(reaches(other, child, set()) for other in below[parent] - {child})
    ]


def _places(columns: Sequence[Sequence[str]]) -> dict[str, tuple[float, float]]:
    tallest = max(len(column) for column in columns)
    places = {}
    for x, column in enumerate(columns):
        offset = (tallest - len(column)) / 2
        for y, id in enumerate(column):
            places[id] = (PAD + x * (WIDTH + GAP_X), PAD + (y + offset) * (HEIGHT + GAP_Y))
    return places


def _curve(start: tuple[float, float], end: tuple[float, float], role: str) -> str:
    x1, y1 = start[0] + WIDTH, start[1] + HEIGHT / 2
    x2, y2 = end[0], end[1] + HEIGHT / 2
    bend = (x1 + x2) / 2
    return f'<path d="M{x1} {y1:g}C{bend} {y1:g} {bend} {y2:g} {x2} {y2:g}"><title>{markup.escape(role)}</title></path>'


def _box(version: Version, at: tuple[float, float], *, is_here: bool) -> str:
    x, y = at
    label = version.label if len(version.label) <= MAX_LETTERS else version.label[: MAX_LETTERS - 1] + "…"
    href = markup.escape(markup.address("registry", {"name": version.label}))
    here = ' class="m-here"' if is_here else ""
    return (
        f'<a href="{href}"{here}><title>{markup.escape(version.label)}</title>'
        f'<rect x="{x}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
        f'<text x="{x + 12}" y="{y + 20:g}">{markup.escape(label)}</text>'
        f'<text class="m-kind" x="{x + 12}" y="{y + 36:g}">{markup.escape(kind_text(version))}</text></a>'
    )


def kind_text(version: Version) -> str:
    """The kind, and for an adapter or a model how it was made: "adapter · merge (ties)", "model · fold"."""
    trainer = version.metadata.get("trainer")
    if version.kind not in ("adapter", "model") or not trainer:
        return version.kind
    method = version.metadata.get("method")
    return f"{version.kind} · {trainer}" + (f" ({method})" if method and trainer == "merge" else "")
