"""Where the things of a lineage stand: in layers, what was asked for on the left.

Layers are the longest way from a root; within a layer nodes stand by the mean place of their
neighbours (Sugiyama, Tagawa and Toda 1981, barycenter heuristic). An edge that goes over several
layers has a lane of its own through each between, so that it runs beside the boxes, not behind.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from audit.lineage.tracing.graph import Edge, Trace

SWEEPS = 4
BOX_HEIGHT, LANE_HEIGHT = 58, 8
GAP = 14
TALL = 800
"""Pixels. A higher drawing scrolls: there each layer begins above, so that what was asked for is
seen at once."""
MAX_LANES = 2_000
"""Of a drawing; with more, edges over several layers go the straight way."""


class Placed(NamedTuple):
    """A node's or a lane's layer, from 0, and where its middle is, in pixels from the top."""

    layer: int
    middle: float


class Layout(NamedTuple):
    """Nodes, and of each edge that has them the lanes: its middles in the layers that it crosses.

    An edge is (near, far): two node ids, the nearer to the root first.
    """

    nodes: Mapping[str, Placed]
    lanes: Mapping[tuple[str, str], Sequence[Placed]]
    height: int


class _Slot(NamedTuple):
    """What stands in a layer: a node, or the lane of an edge through it."""

    name: str
    far: str | None = None


def layout(trace: Trace) -> Layout:
    """Where each node stands, and where each edge runs."""
    onward = _onward(trace)
    layers = _layers(trace, onward)
    rows: list[list[_Slot]] = [[] for _ in range(1 + max(layers.values(), default=0))]
    for name in trace.nodes:
        rows[layers[name]].append(_Slot(name))
    ahead: dict[tuple[int, _Slot], list[_Slot]] = {}
    back: dict[tuple[int, _Slot], list[_Slot]] = {}
    crossing = [
        (near, far, range(layers[near] + 1, layers[far]))
        for near, others in onward.items()
        for far in dict.fromkeys(others)
    ]
    is_laned = sum(len(between) for *_, between in crossing) <= MAX_LANES
    for near, far, between in crossing:
        chain = [(layers[near], _Slot(near))]
        for layer in between if is_laned else ():
            rows[layer].append(_Slot(near, far))
            chain.append((layer, _Slot(near, far)))
        chain.append((layers[far], _Slot(far)))
        for left, right in pairwise(chain):
            ahead.setdefault(left, []).append(right[1])
            back.setdefault(right, []).append(left[1])
    _order(rows, ahead, back)
    middles = _middles(rows, ahead, back)
    if max(middles.values(), default=0) - min(middles.values(), default=0) > TALL:
        middles = _from_above(rows)
    top = min((one - _height(slot) / 2 for (_, slot), one in middles.items()), default=0)
    found = {at: Placed(at[0], middle - top) for at, middle in middles.items()}
    height = max((p.middle + _height(slot) / 2 for (_, slot), p in found.items()), default=0)
    lanes = {
        (near, far): [found[layer, _Slot(near, far)] for layer in between]
        for near, far, between in crossing
        if is_laned and between
    }
    nodes = {name: found[layers[name], _Slot(name)] for name in trace.nodes}
    return Layout(nodes, lanes, round(height))


def ends(edge: Edge, downstream: bool) -> tuple[str, str]:
    """The nodes of an edge, the nearer to the root first."""
    return (edge.cause, edge.effect) if downstream else (edge.effect, edge.cause)


def _onward(trace: Trace) -> dict[str, list[str]]:
    """Node -> the nodes further from the roots that it is linked to."""
    found: dict[str, list[str]] = {name: [] for name in trace.nodes}
    for edge in trace.edges:
        near, far = ends(edge, trace.downstream)
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


_Links = Mapping[tuple[int, _Slot], Sequence[_Slot]]


def _order(rows: list[list[_Slot]], ahead: _Links, back: _Links) -> None:
    """Puts each layer in the order of its neighbours, to and fro."""
    for _ in range(SWEEPS):
        for at in range(1, len(rows)):
            rows[at] = _ordered(at, rows[at], rows[at - 1], back)
        for at in range(len(rows) - 2, -1, -1):
            rows[at] = _ordered(at, rows[at], rows[at + 1], ahead)


def _ordered(at: int, row: Sequence[_Slot], before: Sequence[_Slot], links: _Links) -> list[_Slot]:
    place = {slot: n for n, slot in enumerate(before)}
    own = {slot: float(n) for n, slot in enumerate(row)}

    def middle(slot: _Slot) -> float:
        found = [place[other] for other in links.get((at, slot), ()) if other in place]
        return sum(found) / len(found) if found else own[slot]

    return sorted(row, key=middle)


def _height(slot: _Slot) -> int:
    return BOX_HEIGHT if slot.far is None else LANE_HEIGHT


def _middles(
    rows: Sequence[Sequence[_Slot]], ahead: _Links, back: _Links
) -> dict[tuple[int, _Slot], float]:
    """Each as near as there is room to the middle of what it is linked to."""
    found = {
        (at, slot): middle
        for at, row in enumerate(rows)
        for slot, middle in zip(row, _apart(row, [0.0] * len(row)), strict=True)
    }

    def pull(at: int, links: Iterable[tuple[int, _Links]]) -> None:
        wanted = []
        for slot in rows[at]:
            near = [
                found[at + by, o]
                for by, ls in links
                for o in ls.get((at, slot), ())
                if (at + by, o) in found
            ]
            wanted.append(sum(near) / len(near) if near else found[at, slot])
        for slot, middle in zip(rows[at], _apart(rows[at], wanted), strict=True):
            found[at, slot] = middle

    for _ in range(SWEEPS):
        for at in range(1, len(rows)):
            pull(at, [(-1, back)])
        for at in range(len(rows) - 2, -1, -1):
            pull(at, [(1, ahead)])
    return found


def _from_above(rows: Sequence[Sequence[_Slot]]) -> dict[tuple[int, _Slot], float]:
    found = {}
    for at, row in enumerate(rows):
        top = 0.0
        for slot in row:
            found[at, slot] = top + _height(slot) / 2
            top += _height(slot) + GAP
    return found


def _apart(row: Sequence[_Slot], wanted: Sequence[float]) -> list[float]:
    """Middles in this order, none over another, around the wanted ones.

    Pushed down where they are too near, and once more pushed up: the mean of two ways that keep
    the order and the distance keeps both, too.
    """

    def pushed(order: Sequence[int], way: int) -> dict[int, float]:
        found: dict[int, float] = {}
        last: int | None = None
        for at in order:
            middle = wanted[at] * way
            if last is not None:
                room = (_height(row[at]) + _height(row[last])) / 2 + GAP
                middle = max(middle, found[last] + room)
            found[at], last = middle, at
        return found

    down, up = pushed(range(len(row)), 1), pushed(range(len(row) - 1, -1, -1), -1)
    return [(down[at] - up[at]) / 2 for at in range(len(row))]
