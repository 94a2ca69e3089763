"""A trace as text, one node a line, or as DOT for Graphviz.

Text from records is handed out as it is, but for line ends: whoever prints it makes it harmless.
"""

import json
from collections.abc import Iterator

from audit.lineage.tracing.graph import BY_DIGEST, Edge, Node, Trace, short

INDENT = "  "
MAX_TREE_DEPTH = 200
"""Deeper ones are printed as if they were at this depth's end: nobody reads further right."""
MAX_ROLE_CHARS = 60

_SHAPES = {"prediction": "ellipse", "run": "box", "model": "hexagon", "dataset": "cylinder"}


def to_tree(trace: Trace) -> Iterator[str]:
    """Lines without line ends: each node once, under what led to it; then what there is to know.

    Upstream a line says what its node is to the one above: `used inquiry: data ...`. A node that is
    shown above already is named again, with `(above)`, and not repeated.
    """
    edges = trace.effects() if trace.downstream else trace.causes()
    shown: set[str] = set()
    for root in trace.roots:
        if root in trace.nodes:
            yield from _branch(trace, root, edges, shown)
    for loop in trace.loops:
        yield f"FEEDBACK LOOP  {loop}"
    if trace.touched is not None:
        yield f"predictions touched: {trace.touched.count:,} (listed: {trace.touched.listed:,})"
        for model, count in trace.touched.by_model.items():
            yield f"{INDENT}{count:,} of {short(model, 200)}"
    for note in trace.cut_off:
        yield f"NOT SHOWN  {note}"


def _branch(
    trace: Trace, root: str, edges: dict[str, list[Edge]], shown: set[str]
) -> Iterator[str]:
    """Depth first, without recursion: a hostile chain may be long."""
    stack: list[tuple[int, str, Edge | None]] = [(0, root, None)]
    while stack:
        depth, name, edge = stack.pop()
        node = trace.nodes[name]
        repeated = name in shown
        yield INDENT * min(depth, MAX_TREE_DEPTH) + _line(node, edge, trace.downstream, repeated)
        if repeated:
            continue
        shown.add(name)
        for one in reversed(edges.get(name, [])):
            stack.append((depth + 1, one.effect if trace.downstream else one.cause, one))


def _line(node: Node, edge: Edge | None, downstream: bool, repeated: bool) -> str:
    said = ""
    if edge is not None:
        role = "" if edge.role is None else f" {short(edge.role, MAX_ROLE_CHARS)}"
        how = " (equal digest)" if edge.how == BY_DIGEST else ""
        said = f"<- {edge.name}{role}{how}: " if downstream else f"{edge.name}{role}{how}: "
    what = title(node)
    if repeated:
        return f"{said}{what}  (above)"
    problem = "" if node.problem is None else f"  !! {short(node.problem, 300)}"
    return f"{said}{what}  {node.label}{_entry(node)}{problem}".rstrip()


def title(node: Node) -> str:
    """What a node is called: its REF, else its kind."""
    return node.kind if node.ref is None else short(node.ref, 200)


def _entry(node: Node) -> str:
    return "" if node.log is None else f"  [{node.log}/{node.index}]"


def to_dot(trace: Trace) -> Iterator[str]:
    """Lines of a DOT graph, arrows from cause to effect."""
    numbers = {name: f"n{number}" for number, name in enumerate(trace.nodes)}
    yield "digraph lineage {"
    yield "  rankdir=LR;"
    for name, node in trace.nodes.items():
        text = f"{title(node)}\n{node.label}" + (
            "" if node.problem is None else f"\n{node.problem}"
        )
        shape = _SHAPES.get(node.kind, "note")
        colour = ', color="red"' if node.problem is not None else ""
        yield f"  {numbers[name]} [label={quoted(text)}, shape={shape}{colour}];"
    for edge in trace.edges:
        label = (
            edge.name if edge.role is None else f"{edge.name} {short(edge.role, MAX_ROLE_CHARS)}"
        )
        style = ", style=dashed" if edge.how == BY_DIGEST else ""
        yield (f"  {numbers[edge.cause]} -> {numbers[edge.effect]} [label={quoted(label)}{style}];")
    yield "}"


def quoted(text: str) -> str:
    """A DOT string: JSON's spelling of quotes and backslashes is DOT's; line ends are \\n."""
    return json.dumps(text.replace("\\", "/"), ensure_ascii=False)
