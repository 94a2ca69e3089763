"""A lineage graph drawn in layers: what was asked for on the left, its causes to the right.

Layers are the longest way from a root; within a layer nodes stand by the mean place of their
neighbours in the layer before (Sugiyama, Tagawa and Toda 1981, barycenter heuristic).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from audit.lineage.tracing.graph import Edge, Node, Trace
from audit.web.shown import text

MAX_DRAWN = 150
"""Nodes of a drawing; with more, the table alone is easier to read."""
BOX_WIDTH, BOX_HEIGHT = 172, 46
GAP_X, GAP_Y = 34, 16
"""Five layers, which most lineage has, are 1,000 pixels wide: they fit a small screen whole."""
ARROW = 7
SWEEPS = 4
MAX_TITLE_CHARS = 21
"""Of a box. The end is kept, too: references of one kind begin alike."""
TAIL_CHARS = 9


class Placed(NamedTuple):
    """A node's layer and its place in it, both from 0."""

    layer: int
    place: int


def drawing(trace: Trace, link: Callable[[Node], str | None]) -> Markup:
    """The drawing; empty where there are too many nodes. `link`: the address of a node's page."""
    if not 1 < len(trace.nodes) <= MAX_DRAWN:
        return Markup("")
    places = layout(trace)
    width = (1 + max(one.layer for one in places.values())) * (BOX_WIDTH + GAP_X) - GAP_X
    height = (1 + max(one.place for one in places.values())) * (BOX_HEIGHT + GAP_Y) - GAP_Y
    edges = "".join(_edge(edge, places, trace.downstream) for edge in trace.edges)
    boxes = "".join(
        _box(node, places[name], link(node), name in trace.roots)
        for name, node in trace.nodes.items()
    )
    return Markup(
        f'<svg class="graph" width="{width}" viewBox="-3 -3 {width + 6} {height + 6}" '
        f'role="group" aria-label="Lineage: the same as the table below">{edges}{boxes}</svg>'
    )


def layout(trace: Trace) -> dict[str, Placed]:
    """Where each node stands."""
    onward = _onward(trace)
    layers = _layers(trace, onward)
    rows: list[list[str]] = [[] for _ in range(1 + max(layers.values(), default=0))]
    for name in trace.nodes:
        rows[layers[name]].append(name)
    back: dict[str, list[str]] = {}
    for name, others in onward.items():
        for other in others:
            back.setdefault(other, []).append(name)
    for _ in range(SWEEPS):
        for at in range(1, len(rows)):
            rows[at] = _ordered(rows[at], rows[at - 1], back)
        for at in range(len(rows) - 2, -1, -1):
            rows[at] = _ordered(rows[at], rows[at + 1], onward)
    return {
        name: Placed(layer, place)
        for layer, row in enumerate(rows)
        for place, name in enumerate(row)
    }


def _onward(trace: Trace) -> dict[str, list[str]]:
    """Node -> the nodes further from the roots that it is linked to."""
    found: dict[str, list[str]] = {name: [] for name in trace.nodes}
    for edge in trace.edges:
        near, far = (edge.cause, edge.effect) if trace.downstream else (edge.effect, edge.cause)
        if near in found and far in found and near != far:
            found[near].append(far)
    return found


def _layers(trace: Trace, onward: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The longest way from a root; a loop counts once, for lineage may run in circles."""
    layers = dict.fromkeys(trace.nodes, 0)
    for _ in range(len(trace.nodes)):
        changed = False
        for name, others in onward.items():
            for other in others:
                if layers[other] <= layers[name]:
                    layers[other] = layers[name] + 1
                    changed = True
        if not changed:
            return layers
    return _by_distance(trace, onward)


def _by_distance(trace: Trace, onward: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The shortest way from a root: where there is a circle, no longest one exists."""
    layers: dict[str, int] = {}
    row = [name for name in trace.roots if name in trace.nodes]
    at = 0
    while row:
        layers.update(dict.fromkeys(row, at))
        row = list(dict.fromkeys(o for name in row for o in onward[name] if o not in layers))
        at += 1
    return {name: layers.get(name, at) for name in trace.nodes}


def _ordered(
    row: Sequence[str], before: Sequence[str], links: Mapping[str, Sequence[str]]
) -> list[str]:
    place = {name: at for at, name in enumerate(before)}

    def middle(name: str) -> float:
        found = [place[other] for other in links.get(name, ()) if other in place]
        return sum(found) / len(found) if found else float(row.index(name))

    return sorted(row, key=middle)


def _corner(place: Placed) -> tuple[int, int]:
    return place.layer * (BOX_WIDTH + GAP_X), place.place * (BOX_HEIGHT + GAP_Y)


def _edge(edge: Edge, places: Mapping[str, Placed], downstream: bool) -> str:
    near, far = (edge.cause, edge.effect) if downstream else (edge.effect, edge.cause)
    if near not in places or far not in places:
        return ""
    (x1, y1), (x2, y2) = _corner(places[near]), _corner(places[far])
    x1 += BOX_WIDTH
    y1, y2 = y1 + BOX_HEIGHT // 2, y2 + BOX_HEIGHT // 2
    said = f"{edge.effect} {edge.name} {edge.cause}" + (f" ({edge.role})" if edge.role else "")
    bend, tip = max(20, abs(x2 - x1) // 2), x2 - ARROW
    return (
        f'<path class="{escape(edge.how)}" d="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} '
        f'{tip} {y2}"><title>{escape(text(said, 300))}</title></path>'
        f'<path class="head" d="M{x2} {y2}L{tip} {y2 - 4}V{y2 + 4}Z"/>'
    )


def _box(node: Node, place: Placed, href: str | None, is_root: bool) -> str:
    x, y = _corner(place)
    named = node.ref or node.label
    wrong, asked = " wrong" if node.problem else "", " asked" if is_root else ""
    said = text(f"{named}: {node.label}" + (f"; {node.problem}" if node.problem else ""), 400)
    body = (
        f'<rect class="{escape(node.kind)}{asked}{wrong}" x="{x}" y="{y}" width="{BOX_WIDTH}" '
        f'height="{BOX_HEIGHT}" rx="6"/><text class="kind" x="{x + 10}" y="{y + 17}">'
        f"{escape(node.kind)}{' — wrong' if node.problem else ''}</text>"
        f'<text class="named" x="{x + 10}" y="{y + 35}">{escape(_title(named, node.kind))}</text>'
        f"<title>{escape(said)}</title>"
    )
    return f"<g>{body}</g>" if href is None else f'<a href="{escape(href)}">{body}</a>'


def _title(named: str, kind: str) -> str:
    """What fits a box: without the kind, which stands above, and with its middle left out."""
    short = text(named.removeprefix(f"{kind}/"), len(named))
    if len(short) <= MAX_TITLE_CHARS:
        return short
    return f"{short[: MAX_TITLE_CHARS - TAIL_CHARS - 1]}…{short[-TAIL_CHARS:]}"
