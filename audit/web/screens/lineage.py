"""The trace of a thing as a graph: what it was made from, or what was made from it."""

from audit.lineage.tracing.graph import Node
from audit.web import links
from audit.web.answer import Answer, Asked, Parameter, Screen
from audit.web.drawn.graph import MAX_DRAWN, drawing

DEFAULT_DEPTH = 12
MAX_DEPTH = 1_000


def _answer(asked: Asked) -> Answer:
    ref, downstream = asked.needed("ref"), asked.is_on("downstream")
    depth = asked.number("depth", DEFAULT_DEPTH, MAX_DEPTH)
    found = asked.ledger.trace(ref, as_of=asked.cut, downstream=downstream, depth=depth)

    def link(node: Node) -> str | None:
        if node.ref is not None and "/" in node.ref:
            return links.of_ref(asked, node.ref)
        return None if node.log is None or node.index is None else _entry(node.log, node.index)

    causes = found.effects() if downstream else found.causes()
    view = {
        "found": found,
        "graph": drawing(found, link),
        "too_many": len(found.nodes) > MAX_DRAWN,
        "rows": [(node, link(node), causes.get(node.id, [])) for node in found.nodes.values()],
        "downstream": downstream,
        "other": asked.here(downstream=None if downstream else "1"),
    }
    words = ("audit", "trace", ref, *(("--downstream",) if downstream else ()))
    title = f"{'What was made from' if downstream else 'What made'} {ref}"
    return Answer(title, {"ref": ref, **found.to_json()}, view, words)


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
    ),
)
