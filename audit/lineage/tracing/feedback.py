"""Feedback loops: a model that was trained on what the same model, or its predecessor, answered."""

from collections import deque

from audit.lineage.tracing.graph import DERIVED, Edge, Loop, Trace

MAX_LOOPS = 100
PREDICTIONS_OF = "predictions of"
"""The role of a model to the data that holds its predictions."""


def feedback_loops(trace: Trace) -> list[Loop]:
    """The feedback loops in a trace, up or down; at most MAX_LOOPS."""
    causes = trace.causes()
    sources: dict[str, list[Edge]] = {}
    for edge in trace.edges:
        if edge.name == DERIVED and edge.role == PREDICTIONS_OF and _line(trace, edge.cause):
            sources.setdefault(edge.effect, []).append(edge)
    found: list[Loop] = []
    if not sources:
        return found
    for model in trace.of_kind("model"):
        name = _line(trace, model.id)
        before = _ancestors(model.id, causes)
        for data, edges in sources.items():
            if data not in before:
                continue
            for edge in edges:
                if _line(trace, edge.cause) == name and len(found) < MAX_LOOPS:
                    path = _path(model.id, data, before)
                    nodes = trace.nodes
                    found.append(Loop(model, nodes[data], nodes[edge.cause], path))
    return found


def _line(trace: Trace, node: str) -> str | None:
    """The name of a model without its version; None for what is no model."""
    found = trace.nodes[node]
    name = found.facts.get("name")
    return name if found.kind == "model" and isinstance(name, str) else None


def _ancestors(start: str, causes: dict[str, list[Edge]]) -> dict[str, str]:
    """Node -> the effect that it was first reached from. Predictions of a model are data of it."""
    found: dict[str, str] = {}
    queue = deque([start])
    while queue:
        here = queue.popleft()
        for edge in causes.get(here, ()):
            if edge.cause not in found and edge.cause != start:
                found[edge.cause] = here
                queue.append(edge.cause)
    return found


def _path(start: str, end: str, before: dict[str, str]) -> tuple[str, ...]:
    path = [end]
    while path[-1] != start:
        path.append(before[path[-1]])
    return tuple(reversed(path))
