"""The trace of a thing as a graph: what it was made from, or what was made from it.

A page follows so many things, and looks through so many predictions, that it is quick; what it
leaves out it says, with the address that goes on.
"""

from typing import Any

from audit.event.times import format_time
from audit.lineage.tracing.graph import MAX_NODES, LookedThrough, Node, Trace
from audit.lineage.tracing.walked import Part
from audit.replay.points import parse_time
from audit.web import links
from audit.web.answer import Answer, Asked, Parameter, Screen
from audit.web.drawn.graph import MAX_DRAWN, drawing
from audit.web.drawn.labels import edge_words, labels, pieces
from audit.web.pinned import pin_text

DEFAULT_DEPTH = 12
MAX_DEPTH = 1_000
DEFAULT_NODES = 150
"""Things of one page, beside predictions; another address has MAX_NODES."""
MAX_PREDICTIONS = 200
"""Predictions that one page looks through for those that were touched."""


def _answer(asked: Asked) -> Answer:
    ref, downstream = asked.needed("ref"), asked.is_on("downstream")
    depth = asked.number("depth", DEFAULT_DEPTH, MAX_DEPTH)
    nodes = asked.number("nodes", DEFAULT_NODES, MAX_NODES)
    after = asked.text("after")
    after_us = None if after is None else parse_time(after, asked.ledger.now_us())
    part = Part(after_us, MAX_PREDICTIONS) if downstream else None
    found = asked.ledger.trace(
        ref, as_of=asked.cut, downstream=downstream, depth=depth, nodes=nodes, part=part
    )

    def link(node: Node) -> str | None:
        if node.ref is not None and "/" in node.ref:
            return links.of_ref(asked, node.ref)
        return None if node.log is None or node.index is None else _entry(node.log, node.index)

    looked, onward = _looked(asked, found.part), _onward(asked, found, nodes)
    causes = found.effects() if downstream else found.causes()
    view = {
        "found": found,
        "graph": drawing(found, link),
        "too_many": len(found.nodes) > MAX_DRAWN,
        "rows": [
            (node, link(node), causes.get(name, []), pieces(node))
            for name, node in found.nodes.items()
        ],
        "named": labels(found),
        "anchors": {name: f"thing-{at}" for at, name in enumerate(found.nodes, start=1)},
        "edge_words": edge_words,
        "downstream": downstream,
        "other": asked.here(downstream=None if downstream else "1", after=None),
        "looked": looked,
        "more": onward,
    }
    words = ("audit", "trace", ref, *(("--downstream",) if downstream else ()))
    title = f"{'What was made from' if downstream else 'What made'} {ref}"
    data = {"ref": ref, **found.to_json(), "looked_through": looked, "more": onward}
    return Answer(title, data, view, words)


def _looked(asked: Asked, part: LookedThrough | None) -> dict[str, Any] | None:
    """Which predictions were looked through, and where the next ones are."""
    if part is None:
        return None
    until = None if part.until_us is None else format_time(part.until_us)
    onward = None
    if until is not None:
        onward = asked.here(after=until, as_of=None, pin=pin_text(asked.cut))
    after = None if part.after_us < 0 else format_time(part.after_us)
    return {"predictions": part.count, "after": after, "until": until, "next": onward}


def _onward(asked: Asked, found: Trace, nodes: int) -> str | None:
    """The address with all things that a trace may have, where this one has no room for them."""
    if len(found.nodes) < nodes or nodes >= MAX_NODES or not found.cut_off:
        return None
    return asked.here(nodes=str(MAX_NODES))


def _entry(log: int, index: int) -> str:
    return links.of_entry(log, index)


TRACE = Screen(
    path="/trace",
    template="trace.html",
    about="What a thing was made from, or with downstream=1 what was made from it, as a graph.",
    answer=_answer,
    parameters=(
        Parameter("ref", "The thing: prediction/ID, model/NAME@V, user/5.", required=True),
        Parameter("downstream", "1: what was made from it.", choices=("0", "1")),
        Parameter("depth", "Steps to follow; 12 unless told."),
        Parameter(
            "nodes",
            f"At most so many things; {DEFAULT_NODES} unless told.",
            least=1,
            most=MAX_NODES,
        ),
        Parameter(
            "after",
            "Look through the predictions recorded after this time.",
            example="2026-01-31T10:00:00Z",
        ),
    ),
)
