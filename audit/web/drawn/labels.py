"""Short names of the things of a lineage: of each kind, what tells one from another.

A box has two short lines; the table has the whole text, and so has the title of the box.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from audit.lineage.tracing.graph import Node, Trace
from audit.web.shown import many, number, text

MAX_CHARS = 200
"""Of a line, before a drawing cuts it to the width that it has."""
DIGEST_CHARS = 12
LIBRARIES = 3
"""Of an environment, so many packages are named beside Python."""
MAX_VERSIONS = 40
"""Of an environment, so many parts are listed in a table."""
_SURROUNDINGS = frozenset(
    ("python", "implementation", "platform", "cpu", "cpus", "cpu_model", "blas", "threads")
)
"""Parts of an environment that are no package."""
_NAMES = {
    "used": ("used", "used by"),
    "wasGeneratedBy": ("made by", "made"),
    "wasDerivedFrom": ("derived from", "led to"),
    "wasInformedBy": ("informed by", "informed"),
}
"""What W3C PROV calls an edge -> its words, towards the cause and towards the effect."""


class Label(NamedTuple):
    """Two lines; the second may be empty."""

    title: str
    detail: str


def labels(trace: Trace) -> dict[str, Label]:
    """Node id -> its label."""
    roles: dict[str, str] = {}
    rows: dict[str, str] = {}
    for edge in trace.edges:
        if edge.role is not None and not edge.role.startswith("read by "):
            roles.setdefault(edge.cause, edge.role)
        effect = trace.nodes.get(edge.effect)
        if effect is not None and effect.kind == "row" and effect.ref is not None:
            rows.setdefault(edge.cause, effect.ref)
    return {
        name: _label(node, rows.get(name) if node.kind == "event" else roles.get(name))
        for name, node in trace.nodes.items()
    }


def _label(node: Node, role: str | None) -> Label:
    title, detail = _KINDS.get(node.kind, _plain)(node, role)
    return Label(text(title or node.ref or node.label or node.kind, MAX_CHARS), _line(detail))


def edge_words(name: str, downstream: bool) -> str:
    """What an edge means, read in the direction of the trace."""
    return _NAMES.get(name, (name, name))[downstream]


def pieces(node: Node) -> list[str]:
    """The parts of a node's own text, apart; an environment's, one for each version."""
    versions = node.facts.get("versions")
    if node.kind == "environment" and isinstance(versions, Mapping) and versions:
        found = [f"{name} {_word(value)}" for name, value in list(versions.items())[:MAX_VERSIONS]]
        more = len(versions) - len(found)
        return found + ([f"and {more:,} more, in the JSON"] if more > 0 else [])
    return [part for part in node.label.split("  ") if part]


def _line(said: str) -> str:
    return text(said, MAX_CHARS)


def _fact(node: Node, name: str) -> str:
    value = node.facts.get(name)
    return value if isinstance(value, str) else ""


def _word(value: Any) -> str:
    return value if isinstance(value, str) else text(value, MAX_CHARS)


def _time(value: str) -> str:
    """A time to the second, without the letters between."""
    return value[:19].replace("T", " ")


def _hexed(digest: str) -> str:
    """The first digits of a digest, without the name of its algorithm."""
    return digest.rpartition(":")[2][:DIGEST_CHARS]


def _named(node: Node) -> str:
    """What follows the kind in a reference."""
    ref = node.ref or ""
    for start in (f"{node.kind}/", "dataset/features/"):
        ref = ref.removeprefix(start)
    return ref


def _plain(node: Node, role: str | None) -> tuple[str, str]:
    return node.ref or node.label, role or ""


def _prediction(node: Node, role: str | None) -> tuple[str, str]:
    own, key, status = _named(node), _fact(node, "key"), _fact(node, "status")
    about = key if key and key != own else own[:DIGEST_CHARS]
    output = node.facts.get("output")
    if isinstance(output, float):
        answer = f"{output:.4g}"
    else:
        answer = status if output is None or status not in ("", "OK") else _word(output)
    return (f"{about} → {answer}" if answer else about), _time(_fact(node, "date"))


def _model(node: Node, role: str | None) -> tuple[str, str]:
    metrics = node.facts.get("metrics")
    if isinstance(metrics, Mapping) and metrics:
        name, value = next(iter(metrics.items()))
        return _named(node), f"{name} {_word(value)}"
    return _named(node), _hexed(_fact(node, "digest"))


def _run(node: Node, role: str | None) -> tuple[str, str]:
    status = _fact(node, "status")
    ended = "" if status == "COMPLETE" else status.lower() + " "
    return _fact(node, "component") or _named(node), ended + _time(_fact(node, "started"))


def _code(node: Node, role: str | None) -> tuple[str, str]:
    digest, commit = _hexed(_fact(node, "digest")), _fact(node, "commit")[:DIGEST_CHARS]
    changed = ", changed" if node.facts.get("dirty") is True else ""
    return digest or commit, f"commit {commit}{changed}" if commit and digest else role or ""


def _environment(node: Node, role: str | None) -> tuple[str, str]:
    versions = node.facts.get("versions")
    if not isinstance(versions, Mapping):
        return node.label, ""
    python = versions.get("python")
    packages = [name for name in versions if name not in _SURROUNDINGS][:LIBRARIES]
    shown = ", ".join(f"{name} {_word(versions[name])}" for name in packages)
    return (f"Python {_word(python)}", shown) if python is not None else (shown, "")


def _data(node: Node, role: str | None) -> tuple[str, str]:
    rows, path = node.facts.get("rows"), _fact(node, "path")
    size = ""
    if isinstance(rows, int):
        size = many(rows, "row")
    name = _named(node) if node.kind == "dataset" else path.rpartition("/")[2] or role or ""
    digest = _hexed(_fact(node, "digest"))
    if node.kind == "dataset":
        return name, size or digest
    return ", ".join(filter(None, (name, size))) or digest, digest if name or size else ""


def _point(node: Node, role: str | None) -> tuple[str, str]:
    logs, valid = node.facts.get("logs"), _fact(node, "valid_at")
    place, origin = "", ""
    if isinstance(logs, list) and len(logs) == 1:
        place, origin = f"size {number(logs[0]['size'])}", logs[0]["origin"]
    elif isinstance(logs, list) and logs:
        place = f"{len(logs):,} logs"
    parts = (_fact(node, "entity_type"), place)
    return ", ".join(filter(None, parts)), f"valid {_time(valid)}" if valid else origin


def _features(node: Node, role: str | None) -> tuple[str, str]:
    reads = node.facts.get("reads")
    names = ", ".join(map(str, reads[:LIBRARIES])) if isinstance(reads, list) else ""
    return _named(node), f"reads {names}" if names else _hexed(_fact(node, "digest"))


def _row(node: Node, role: str | None) -> tuple[str, str]:
    since, events = node.facts.get("events_since"), node.facts.get("events")
    if isinstance(since, int) and since:
        return node.ref or "", f"{many(since, 'change')} since it was read"
    if not isinstance(events, int):
        return node.ref or "", ""
    return node.ref or "", many(events, "event")


def _event(node: Node, role: str | None) -> tuple[str, str]:
    """`role`: the row that it changed."""
    who = _fact(node, "actor") or _fact(node, "source")
    when = _time(text(node.label.partition("  ")[2], MAX_CHARS)).rstrip("Z")
    return f"{_fact(node, 'op')} {role or ''}".strip(), f"{when} {who}".strip()


def _transaction(node: Node, role: str | None) -> tuple[str, str]:
    return _fact(node, "transaction_id"), _fact(node, "source")


_KINDS: dict[str, Callable[[Node, str | None], tuple[str, str]]] = {
    "prediction": _prediction,
    "model": _model,
    "run": _run,
    "code": _code,
    "environment": _environment,
    "data": _data,
    "dataset": _data,
    "point": _point,
    "features": _features,
    "row": _row,
    "event": _event,
    "transaction": _transaction,
}
