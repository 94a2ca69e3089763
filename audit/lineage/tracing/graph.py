"""The lineage graph: nodes, edges named as W3C PROV names them, and their limits.

An edge goes from an effect to a cause, as PROV writes it: the model wasGeneratedBy the run. It is
*declared* where a record names the cause, and by *digest* where two records name the same content.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from audit.event.times import format_time

USED = "used"
GENERATED = "wasGeneratedBy"
DERIVED = "wasDerivedFrom"
INFORMED = "wasInformedBy"

DECLARED = "declared"
BY_DIGEST = "digest"

MAX_NODES = 5_000
"""Nodes of one trace; what comes after that many is cut off, and the trace says so."""
MAX_EDGES = 20_000
MAX_DEPTH = 1_000
"""Steps from what was asked for, unless fewer are asked for."""
MAX_LABEL_CHARS = 300
MAX_LISTED = 1_000
"""Inputs, outputs, parents and the like of one record that are followed."""

Kind = Literal[
    "prediction",
    "model",
    "run",
    "code",
    "environment",
    "data",
    "dataset",
    "point",
    "features",
    "row",
    "event",
    "transaction",
]


class Node(NamedTuple):
    """A thing of the lineage.

    `id` names it within its trace; `ref` is what commands take, where there is such. `log`, `index`
    and `recorded_us` say where it is recorded. `facts` are JSON. `problem` is what is wrong with
    it: the run failed, the name stands for another artifact, nothing of it is recorded.
    """

    id: str
    kind: Kind
    label: str
    ref: str | None = None
    log: int | None = None
    index: int | None = None  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    recorded_us: int | None = None
    facts: Mapping[str, Any] = {}  # never written to
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        recorded_us = self.recorded_us
        return {
            "id": self.id,
            "kind": self.kind,
            "ref": self.ref,
            "label": self.label,
            "log": self.log,
            "index": self.index,
            "recorded_time": None if recorded_us is None else format_time(recorded_us),
            "facts": dict(self.facts),
            "problem": self.problem,
        }


class Edge(NamedTuple):
    """`effect` was made from `cause`, two node ids. `how`: declared or digest.

    `role` is what the cause is to the effect: the name of an input, parent, member ...
    """

    effect: str
    cause: str
    name: str
    how: str
    role: str | None = None


class Touched(NamedTuple):
    """Predictions that a trace downstream found: all counted, the first ones listed as nodes."""

    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    listed: int
    by_model: Mapping[str, int]


class LookedThrough(NamedTuple):
    """The predictions that a trace with limits looked through.

    `count` of them, recorded after `after_us` and until `until_us`; None: until the end.
    """

    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    after_us: int
    until_us: int | None


class Loop(NamedTuple):
    """`model` was made from `data`, and that holds predictions of `source`: the same model's line.

    Nodes of the trace. `path`: their ids from the model to the data.
    """

    model: Node
    data: Node
    source: Node
    path: tuple[str, ...]

    def __str__(self) -> str:
        """In one line."""
        data = self.data.ref or self.data.label
        return (
            f"{self.model.ref} was made from {data}, which holds predictions of {self.source.ref}"
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "model": self.model.ref,
            "data": self.data.ref or self.data.id,
            "predictions_of": self.source.ref,
            "path": list(self.path),
        }


class Trace(NamedTuple):
    """What things were made from; or, downstream, what was made from them.

    `asked`: the REFs as given; `roots`: the ids of their nodes. `cut_off` says in words what is
    left out because a limit was met. `touched`: of a trace downstream, the predictions. `loops`:
    the feedback loops in it. `part`: which predictions were looked through; None: all.
    """

    asked: tuple[str, ...]
    roots: tuple[str, ...]
    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    downstream: bool
    cut_off: tuple[str, ...]
    touched: Touched | None = None
    loops: tuple[Loop, ...] = ()
    part: "LookedThrough | None" = None

    def of_kind(self, kind: Kind) -> list[Node]:
        """The nodes of a kind, nearest first."""
        return [node for node in self.nodes.values() if node.kind == kind]

    def find(self, ref: str) -> list[Node]:
        """The nodes that a REF names."""
        return [node for node in self.nodes.values() if node.ref == ref]

    def causes(self) -> dict[str, list[Edge]]:
        """Node id -> the edges to its causes."""
        return _by((edge.effect, edge) for edge in self.edges)

    def effects(self) -> dict[str, list[Edge]]:
        """Node id -> the edges from its effects."""
        return _by((edge.cause, edge) for edge in self.edges)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        touched = self.touched
        return {
            "asked": list(self.asked),
            "direction": "downstream" if self.downstream else "upstream",
            "roots": list(self.roots),
            "nodes": [node.to_json() for node in self.nodes.values()],
            "edges": [edge._asdict() for edge in self.edges],
            "feedback_loops": [loop.to_json() for loop in self.loops],
            "predictions": None if touched is None else touched._asdict(),
            "cut_off": list(self.cut_off),
        }


def _by(edges: Iterable[tuple[str, Edge]]) -> dict[str, list[Edge]]:
    found: dict[str, list[Edge]] = {}
    for name, edge in edges:
        found.setdefault(name, []).append(edge)
    return found


S = TypeVar("S")
Follow = Callable[[int], None]
"""Adds what a node is linked to; takes the depth of what it adds."""


class Builder:
    """A graph as it grows, nearest nodes first, within its limits.

    Every node is followed once, so that circles end.
    """

    def __init__(self, depth: int | None = None, most: int | None = None) -> None:
        """Nothing is in it; `depth`: steps from the first nodes that are followed.

        `most`: nodes that are enough, where that is fewer than MAX_NODES.
        """
        self.most = MAX_NODES if most is None else min(most, MAX_NODES)
        self.depth = MAX_DEPTH if depth is None else min(depth, MAX_DEPTH)
        self.nodes: dict[str, Node] = {}
        self.cut_off: dict[str, None] = {}
        self._edges: dict[tuple[str, str, str, str | None], Edge] = {}
        self._queue: deque[tuple[int, Follow]] = deque()
        self._unfollowed = 0

    def add(self, node: Node, depth: int, follow: Follow | None = None) -> bool:
        """Put a node in, unless it is there. False when there is no room for it."""
        if node.id in self.nodes:
            return True
        if len(self.nodes) >= self.most:
            self.cut(f"there are more than {self.most:,} nodes")
            return False
        self.nodes[node.id] = node._replace(label=short(node.label, MAX_LABEL_CHARS))
        if follow is not None:
            self._queue.append((depth, follow))
        return True

    @property
    def is_enough(self) -> bool:
        """Whether there is no room left of what was asked for: nobody wants to look further."""
        return self.most < MAX_NODES and len(self.nodes) >= self.most

    def link(self, effect: str, cause: str, name: str, how: str, role: str | None = None) -> None:
        """Put an edge in, between two nodes that are there. A declared one replaces an inferred."""
        if effect not in self.nodes or cause not in self.nodes:
            return
        key = effect, cause, name, role
        before = self._edges.get(key)
        if before is None and len(self._edges) >= MAX_EDGES:
            self.cut(f"there are more than {MAX_EDGES:,} edges")
        elif before is None or how == DECLARED:
            self._edges[key] = Edge(effect, cause, name, how, role)

    def grow(self) -> None:
        """Follow what was added, until nothing new comes."""
        while self._queue:
            depth, follow = self._queue.popleft()
            if depth >= self.depth:
                self._unfollowed += 1
            else:
                follow(depth + 1)
        if self._unfollowed:
            self.cut_off.pop(self._depth_note, None)
            self._depth_note = f"{self._unfollowed:,} things at depth {self.depth} are not followed"
            self.cut(self._depth_note)

    _depth_note = ""

    def cut(self, what: str) -> None:
        """Note that something is left out."""
        self.cut_off[what] = None

    def listed(self, things: Sequence[S], what: str) -> Sequence[S]:
        """At most MAX_LISTED of them; noted when there are more."""
        if len(things) > MAX_LISTED:
            self.cut(f"{len(things):,} {what}: the first {MAX_LISTED:,} are followed")
        return things[:MAX_LISTED]

    def edges(self) -> tuple[Edge, ...]:
        """The edges, in the order in which they were found."""
        return tuple(self._edges.values())


def short(text: str, chars: int) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= chars else text[: chars - 1] + "…"


def short_digest(digest: str | None) -> str:
    """A digest for people: its algorithm and the first 12 hex digits; empty for none."""
    if digest is None:
        return ""
    head, colon, hexed = digest.rpartition(":")
    return short(head + colon, 40) + hexed[:12]
