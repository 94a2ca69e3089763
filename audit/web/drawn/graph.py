"""A lineage graph as SVG: what was asked for on the left, what it was made from to the right."""

from collections.abc import Callable, Mapping, Sequence
from unicodedata import east_asian_width

from markupsafe import Markup, escape

from audit.lineage.tracing.graph import Edge, Node, Trace
from audit.web.drawn.labels import Label, edge_words, labels
from audit.web.drawn.layers import BOX_HEIGHT, Layout, Placed, ends, layout
from audit.web.shown import text

MAX_DRAWN = 150
"""Nodes of a drawing; with more, the table alone is easier to read."""
BOX_WIDTH, GAP_X = 188, 48
"""Five layers, which most lineage has, fit a screen of 1,280 pixels whole."""
PADDING = 10
ARROW = 7
PORTS = BOX_HEIGHT - 22
"""So much of a box's side its edges share: each has a place of its own there."""
TITLE_PX, DETAIL_PX = 12, 11
BOLD = 1.1
"""Titles are bold: so much wider."""
TAIL_CHARS = 12
"""A version or a key of at most so many characters stays in sight behind a name too long."""
_NARROW = frozenset("iljtfrI.,:;|!'`()[]{}/ -")
_BROAD = frozenset("mwMW@%—…→")

Ports = Mapping[tuple[str, str], float]
"""An edge, by its ends -> the distance of its port from the middle of the box."""


def drawing(trace: Trace, link: Callable[[Node], str | None]) -> Markup:
    """The drawing; empty where there are too many nodes. `link`: the address of a node's page."""
    if not 1 < len(trace.nodes) <= MAX_DRAWN:
        return Markup("")
    places, named = layout(trace), labels(trace)
    width = (1 + max(one.layer for one in places.nodes.values())) * (BOX_WIDTH + GAP_X) - GAP_X
    leaving, coming = _ports(trace, places)
    right = BOX_WIDTH - PADDING + 2
    inside = f"0,0 {right},0 {right},{BOX_HEIGHT} 0,{BOX_HEIGHT}"
    drawn = "".join(_edge(one, trace, places, leaving, coming, named) for one in trace.edges)
    boxes = "".join(
        _box(node, named[name], places.nodes[name], link(node), name in trace.roots)
        for name, node in trace.nodes.items()
    )
    return Markup(
        f'<svg class="graph" width="{width + 6}" viewBox="-3 -3 {width + 6} {places.height + 6}" '
        'role="group" aria-label="Lineage: the same as the table below">'
        f'<clipPath id="in-box"><polygon points="{inside}"/></clipPath>{drawn}{boxes}</svg>'
    )


def _ports(trace: Trace, places: Layout) -> tuple[Ports, Ports]:
    """Where edges leave a box on the right, and come to one on the left: in the order of their
    other ends, so that edges of one box do not cross beside it."""
    pairs = dict.fromkeys(
        pair
        for edge in trace.edges
        if (pair := ends(edge, trace.downstream))[0] in places.nodes and pair[1] in places.nodes
    )
    right: dict[str, list[tuple[float, tuple[str, str]]]] = {}
    left: dict[str, list[tuple[float, tuple[str, str]]]] = {}
    for near, far in pairs:
        lanes = places.lanes.get((near, far), ())
        first = lanes[0] if lanes else places.nodes[far]
        last = lanes[-1] if lanes else places.nodes[near]
        right.setdefault(near, []).append((first.middle, (near, far)))
        left.setdefault(far, []).append((last.middle, (near, far)))
    return _shared(right), _shared(left)


def _shared(sides: Mapping[str, list[tuple[float, tuple[str, str]]]]) -> Ports:
    found = {}
    for edges in sides.values():
        step = min(12.0, PORTS / len(edges))
        for at, (_, pair) in enumerate(sorted(edges, key=lambda one: one[0])):
            found[pair] = (at - (len(edges) - 1) / 2) * step
    return found


def _edge(
    edge: Edge,
    trace: Trace,
    places: Layout,
    leaving: Ports,
    coming: Ports,
    named: Mapping[str, Label],
) -> str:
    pair = near, far = ends(edge, trace.downstream)
    if near not in places.nodes or far not in places.nodes:
        return ""
    start, end = places.nodes[near], places.nodes[far]
    x, y = _left(start) + BOX_WIDTH, start.middle + leaving[pair]
    way = f"M{x} {y:.1f}"
    for lane in places.lanes.get(pair, ()):
        way += _bend(x, y, _left(lane), lane.middle)
        x, y = _left(lane) + BOX_WIDTH, lane.middle
        way += f"H{x}"
    to_x, to_y = _left(end), end.middle + coming[pair]
    way += _bend(x, y, to_x - ARROW, to_y)
    words = f"{edge_words(edge.name, False)}{f' ({edge.role})' if edge.role else ''}"
    said = f"{named[edge.effect].title}: {words}: {named[edge.cause].title}"
    return (
        f'<g class="edge"><path class="{escape(edge.how)}" d="{way}">'
        f"<title>{escape(text(said, 300))}</title></path>"
        f'<path class="head" d="M{to_x} {to_y:.1f}l-{ARROW} -4v8Z"/></g>'
    )


def _left(place: Placed) -> int:
    return place.layer * (BOX_WIDTH + GAP_X)


def _bend(x1: int, y1: float, x2: int, y2: float) -> str:
    by = max(16, abs(x2 - x1) // 2)
    return f"C{x1 + by} {y1:.1f} {x2 - by} {y2:.1f} {x2} {y2:.1f}"


def _box(node: Node, label: Label, place: Placed, href: str | None, is_root: bool) -> str:
    x, y = _left(place), place.middle - BOX_HEIGHT / 2
    wrong, asked = " wrong" if node.problem else "", " asked" if is_root else ""
    said = f"{node.kind} {node.ref or node.label}"
    said += f": {node.label}" if node.ref and node.label else ""
    said += f"; {node.problem}" if node.problem else ""
    room = BOX_WIDTH - 2 * PADDING
    lines = (
        ("kind", 17, node.kind + (" — wrong" if node.problem else ""), DETAIL_PX),
        ("named", 33, label.title, TITLE_PX * BOLD),
        ("detail", 49, label.detail, DETAIL_PX),
    )
    written = "".join(
        f'<text class="{name}" x="{PADDING}" y="{at}">{escape(fit(words, room, size))}</text>'
        for name, at, words, size in lines
        if words
    )
    body = (
        f'<rect class="{escape(node.kind)}{asked}{wrong}" width="{BOX_WIDTH}" '
        f'height="{BOX_HEIGHT}" rx="6"/><g clip-path="url(#in-box)">{written}</g>'
        f"<title>{escape(text(said, 600))}</title>"
    )
    moved = f'transform="translate({x} {y:.1f})"'
    return (
        f"<g {moved}>{body}</g>" if href is None else f'<a href="{escape(href)}" {moved}>{body}</a>'
    )


def fit(words: str, room_px: int, size_px: float) -> str:
    """So much of a text as there is room for; a version or key at its end stays in sight.

    By the usual widths of letters: a drawing cannot measure what a reader's font has.
    """
    if _width(words, size_px) <= room_px:
        return words
    start = max(words.rfind(mark) for mark in "@/→")
    tail = words[start:] if start > 0 and len(words) - start <= TAIL_CHARS else ""
    room_px -= round(_width("…" + tail, size_px))
    head = words[: len(words) - len(tail)]
    while head and _width(head, size_px) > room_px:
        head = head[:-1]
    return f"{head.rstrip()}…{tail}"


def _width(words: Sequence[str], size_px: float) -> float:
    return size_px * sum(map(_share, words))


def _share(char: str) -> float:
    """The width of a character, as a share of the size of the font."""
    if char in _NARROW:
        return 0.36
    if char in _BROAD:
        return 0.92
    if east_asian_width(char) in "WF":
        return 1.0
    return 0.66 if char.isupper() or char.isdigit() else 0.57
