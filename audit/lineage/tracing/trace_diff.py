"""How the lineage of two things differs: aligned by role, what is the same and what is not.

Both are traced upstream. Then model is compared with model, run with run of the same component,
input with input of the same name, down to parameters, packages, columns and lines of code.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from audit.errors import AuditError, Unavailable
from audit.lineage.recorded.records import DataUse, LogPoint
from audit.lineage.source.source_diff import source_diff
from audit.lineage.tracing.differing import MAX_DETAILS, column_lines, same_json, shown, value_lines
from audit.lineage.tracing.graph import Edge, Node, Trace, short, short_digest
from audit.lineage.tracing.trace import trace
from audit.lineage.tracing.trace_nodes import value_text, when
from audit.lineage.tracing.trace_rows import Rows
from audit.lineage.tracing.trace_up import read_by
from audit.replay.diff import diff
from audit.replay.history import history
from audit.replay.points import Cut
from audit.replay.refs import Ref
from audit.store.blobs import BlobStore
from audit.store.contract import Reader

MAX_ENTRIES_BETWEEN = 5_000
"""Two points of a dataset further apart than this are not compared row by row."""
_DATA = ("data", "dataset", "point")


class Part(NamedTuple):
    """One thing of both lineages. `a`, `b`: what it is there in JSON; None where it is not there.

    `details`: how it differs, in lines.
    """

    role: str
    name: str
    same: bool
    a: Any
    b: Any
    details: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {**self._asdict(), "details": list(self.details)}


class TraceDiff(NamedTuple):
    """Both lineages, part by part."""

    a: str
    b: str
    parts: tuple[Part, ...]
    cut_off: tuple[str, ...]

    @property
    def differing(self) -> list[Part]:
        """The parts that are not the same."""
        return [part for part in self.parts if not part.same]

    def part(self, role: str, name: str | None = None) -> Part | None:
        """The first part of a role, and of a name."""
        found = (one for one in self.parts if one.role == role and name in (None, one.name))
        return next(found, None)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "a": self.a,
            "b": self.b,
            "same": not self.differing,
            "parts": [part.to_json() for part in self.parts],
            "cut_off": list(self.cut_off),
        }

    def lines(self) -> Iterator[str]:
        """For people: what differs, with details; then what is the same."""
        yield f"a  {self.a}"
        yield f"b  {self.b}"
        for part in self.differing:
            yield f"DIFFERENT  {part.role} {part.name}".rstrip()
            if part.a is None or part.b is None:
                yield f"  only in {'b' if part.a is None else 'a'}"
            for detail in part.details:
                yield f"  {detail}"
        for part in self.parts:
            if part.same:
                yield f"same       {part.role} {part.name}".rstrip()
        for note in self.cut_off:
            yield f"NOT COMPARED  {note}"


def trace_diff(reader: Reader, blobs: BlobStore, a: str, b: str, cut: Cut) -> TraceDiff:
    """How the lineage of two things differs, as known at a cut: predictions, models, runs, data.

    Code is compared line by line where the blob store has both texts. Raises as `trace` does.
    """
    left, right = (_Side(trace(reader, [ref], cut)) for ref in (a, b))
    return TraceDiff(
        a,
        b,
        tuple(_Compare(reader, blobs, cut, left, right).parts()),
        tuple(dict.fromkeys((*left.trace.cut_off, *right.trace.cut_off))),
    )


class _Side:
    """One lineage, its nodes by the role they have."""

    def __init__(self, found: Trace) -> None:
        self.trace = found
        self.root = found.nodes[found.roots[0]]
        self.causes = found.causes()
        self.answers = found.of_kind("prediction")
        self.models = found.of_kind("model")
        self.runs = _first({str(run.facts.get("component", "")): run for run in _reversed(found)})
        self.features = {_line_of(node): node for node in reversed(found.of_kind("features"))}
        self.rows = {node.ref or "": node for node in found.of_kind("row")}

    def linked(self, node: Node, kinds: Sequence[str]) -> list[tuple[Edge, Node]]:
        """What a node was made from, of some kinds."""
        pairs = [(edge, self.trace.nodes[edge.cause]) for edge in self.causes.get(node.id, [])]
        return [(edge, found) for edge, found in pairs if found.kind in kinds]

    def inputs(self, node: Node) -> dict[str, Node]:
        """The data that a run or prediction read, by the name it gave it, or by its number."""
        found: dict[str, Node] = {}
        for edge, data in self.linked(node, _DATA):
            name = edge.role or str(data.facts.get("entity_type") or f"input {len(found) + 1}")
            found.setdefault(name, data)
        return found

    def points(self, data: Node, reader: Node | None) -> list[Node]:
        """The points of the ledger that data is of: where this reader read it, or as declared."""
        if data.kind == "point":
            return [data]
        linked = self.linked(data, ("point",))
        own = None if reader is None or reader.ref is None else read_by(reader.ref)
        mine = [node for edge, node in linked if edge.role == own]
        return mine or [node for edge, node in linked if edge.role is None]


def _reversed(found: Trace) -> list[Node]:
    return list(reversed(found.of_kind("run")))


def _first(nodes: dict[str, Node]) -> dict[str, Node]:
    """In the order nearest first again; of several runs of a component the nearest counts."""
    return dict(reversed(nodes.items()))


def _line_of(node: Node) -> str:
    return str(node.facts.get("name", ""))


_Readers = tuple[Node | None, Node | None]
"""What read the data in each lineage."""


class _Compare:
    def __init__(
        self, reader: Reader, blobs: BlobStore, cut: Cut, left: _Side, right: _Side
    ) -> None:
        self.reader = reader
        self.blobs = blobs
        self.cut = cut
        self.left = left
        self.right = right

    def parts(self) -> Iterator[Part]:
        left, right = self.left, self.right
        if left.root.kind == right.root.kind == "prediction":
            yield from self._answers(left.root, right.root)
        elif left.root.kind in ("dataset", "data") and right.root.kind in ("dataset", "data"):
            yield self._data("data", left.root, right.root, (None, None))
        yield from self._models()
        for name in dict.fromkeys((*left.runs, *right.runs)):
            yield from self._run(name, left.runs.get(name), right.runs.get(name))
        for name in dict.fromkeys((*left.features, *right.features)):
            keys = ("version", "digest", "source_digest")
            yield self._node(
                "features", name, left.features.get(name), right.features.get(name), keys
            )
        for name in dict.fromkeys((*left.rows, *right.rows)):
            yield self._row(name, left.rows.get(name), right.rows.get(name))

    def _answers(self, a: Node, b: Node) -> Iterator[Part]:
        """Two predictions: values as served, output, threshold, and the code that served them."""
        for role in ("features", "feature_sets"):
            yield _values(
                "feature values" if role == "features" else "feature sets", "", a, b, role
            )
        for role in ("output", "status", "threshold", "key"):
            one, other = a.facts.get(role), b.facts.get(role)
            yield _plain(role, "", one, other)
        codes = [
            next((node for _, node in side.linked(side.root, ("code",))), None)
            for side in (self.left, self.right)
        ]
        yield self._code("serving code", "", *codes)
        yield from self._inputs("prediction", a, b)

    def _models(self) -> Iterator[Part]:
        lefts, rights = self.left.models, self.right.models
        kinds = {self.left.root.kind, self.right.root.kind}
        if kinds <= {"model", "prediction"} and lefts and rights:
            # What was asked for is compared whatever it is called; the others by their names.
            yield self._model(lefts[0], rights[0])
            lefts, rights = lefts[1:], rights[1:]
        a = {_line_of(node): node for node in reversed(lefts)}
        b = {_line_of(node): node for node in reversed(rights)}
        for name in dict.fromkeys((*reversed(a), *reversed(b))):
            if name in a and name in b:
                yield self._model(a[name], b[name])
            else:
                yield self._node("model", name, a.get(name), b.get(name), ("digest",))

    def _model(self, a: Node, b: Node) -> Part:
        keys = ("version", "digest", "format", "threshold", "tolerance", "package", "members")
        part = self._node("model", _line_of(a), a, b, ("name", *keys))
        details = list(part.details)
        for name in ("packages", "metrics"):
            details += value_lines(a.facts.get(name), b.facts.get(name), name[:-1])
        problems = [
            f"{side}: {node.problem}" for side, node in (("a", a), ("b", b)) if node.problem
        ]
        return part._replace(same=part.same and not details, details=(*details, *problems))

    def _run(self, name: str, a: Node | None, b: Node | None) -> Iterator[Part]:
        if a is None or b is None:
            yield self._node("run", name, a, b, ())
            return
        yield self._node("run", name, a, b, ("status", "error", "owner", "seed"))
        yield _values("params", name, a, b, "params")
        yield _values("metrics", name, a, b, "metrics")
        yield self._code("code", name, a, b)
        yield _values("environment", name, a, b, "environment", ("lock_digest",))
        yield self._tests(name, a, b)
        yield from self._inputs(name, a, b)

    def _tests(self, name: str, a: Node, b: Node) -> Part:
        def told(node: Node) -> dict[str, Any]:
            return {
                f"{one['phase']} {one['name']}": f"{one['status']} {short_digest(one['digest'])}"
                for one in node.facts.get("tests") or []
            }

        one, other = told(a), told(b)
        return Part("tests", name, one == other, one, other, tuple(value_lines(one, other)))

    def _inputs(self, name: str, a: Node, b: Node) -> Iterator[Part]:
        one, other = self.left.inputs(a), self.right.inputs(b)
        for role in dict.fromkeys((*one, *other)):
            if role in one and role in other:
                yield self._data(f"{name}: {role}", one[role], other[role], (a, b))
            else:
                yield self._node("data", f"{name}: {role}", one.get(role), other.get(role), ())

    # One thing with another

    def _node(
        self, role: str, name: str, a: Node | None, b: Node | None, keys: Sequence[str]
    ) -> Part:
        if a is None or b is None:
            return Part(role, name, False, _said(a, keys), _said(b, keys))
        one, other = _said(a, keys), _said(b, keys)
        lines = value_lines(
            {key: a.facts.get(key) for key in keys}, {key: b.facts.get(key) for key in keys}
        )
        return Part(role, name, not lines, one, other, tuple(lines))

    def _code(self, role: str, name: str, a: Node | None, b: Node | None) -> Part:
        keys = ("digest", "commit", "dirty")
        if a is not None and b is not None and a.kind == "run":
            keys = ("code_digest", "code_commit", "code_dirty")
            part = self._node(role, name, a, b, keys)
        else:
            part = self._node(role, name, a, b, keys)
            if a is None and b is None:
                return part._replace(same=True)
        one, other = ((node.facts.get(keys[0]) if node else None) for node in (a, b))
        if isinstance(one, str) and isinstance(other, str) and one != other:
            part = part._replace(details=(*part.details, *source_diff(self.blobs, one, other)))
        return part

    def _data(self, name: str, a: Node, b: Node, readers: "_Readers") -> Part:
        if a.id == b.id:
            return Part("data", name, True, _said(a, ("digest",)), _said(b, ("digest",)))
        part = self._node("data", name, a, b, ("digest", "rows"))
        one, other = (node.facts.get("columns") or {} for node in (a, b))
        details = list(part.details)
        if one and other:
            details += [f"column {line}" for line in column_lines(one, other)]
        details += self._between(a, b, readers)
        return part._replace(same=not details, details=tuple(details))

    def _between(self, a: Node, b: Node, readers: "_Readers") -> list[str]:
        """The points that two inputs were replayed at, and the rows that changed between them."""
        lefts = {_line_point(one): one for one in self.left.points(a, readers[0])}
        rights = {_line_point(one): one for one in self.right.points(b, readers[1])}
        lines = []
        for entity_type in dict.fromkeys((*lefts, *rights)):
            one, other = lefts.get(entity_type), rights.get(entity_type)
            if one is None or other is None or one.id != other.id:
                lines.append(
                    f"{one.label if one else 'none'} -> {other.label if other else 'none'}"
                )
            if one is not None and other is not None and one.id != other.id:
                lines += self._changes(_use_of(one), _use_of(other))
        return lines

    def _changes(self, a: DataUse, b: DataUse) -> list[str]:
        from audit.lineage.tracing.graph import Builder

        rows = Rows(self.reader, self.cut, Builder())
        (one, _), (other, _) = rows.point_of(a), rows.point_of(b)
        if one is None or other is None or a.entity_type is None:
            return []
        logs = one.sizes.keys() | other.sizes.keys()
        if sum(abs(one.size(log) - other.size(log)) for log in logs) > MAX_ENTRIES_BETWEEN:
            return [f"more than {MAX_ENTRIES_BETWEEN:,} entries between: see audit diff"]
        lines = []
        try:
            found = diff(self.reader, a.entity_type, one, other)
            for number, change in enumerate(found):
                if number == MAX_DETAILS:
                    lines.append("... and further rows: see audit diff")
                    break
                fields = ", ".join(
                    f"{name}: {shown(old)} -> {shown(new)}"
                    for name, (old, new) in list(change.fields.items())[:MAX_DETAILS]
                )
                ref = Ref(a.entity_type, change.entity_key)
                later = other if sum(other.sizes.values()) >= sum(one.sizes.values()) else one
                lines.append(f"row {ref} {change.kind}  {fields}{self._by(ref, later)}")
        except Unavailable:
            raise
        except AuditError as error:
            lines.append(f"the rows cannot be compared: {error}")
        return lines

    def _by(self, ref: Ref, point: Cut) -> str:
        """Who made the last change, when and why."""
        versions = history(self.reader, ref, point)
        if not versions:
            return ""
        last = versions[-1]
        why = "" if last.reason is None else f" because {short(last.reason, 60)}"
        who = last.actor or "nobody named"
        return f"  by {who} {when(last.recorded_time_us)}{why} [{last.log}/{last.index}]"

    def _row(self, name: str, a: Node | None, b: Node | None) -> Part:
        part = self._node("row", name, a, b, ("events",))
        if a is not None and b is not None and a.id != b.id:
            lines = value_lines(a.facts.get("row"), b.facts.get("row"), "field")
            part = part._replace(same=part.same and not lines, details=(*part.details, *lines))
        return part


def _said(node: Node | None, keys: Sequence[str]) -> dict[str, Any] | None:
    if node is None:
        return None
    return {"ref": node.ref, "label": node.label, **{key: node.facts.get(key) for key in keys}}


def _plain(role: str, name: str, a: Any, b: Any) -> Part:
    same = same_json(a, b)
    details = () if same else (f"{value_text(a)} -> {value_text(b)}",)
    return Part(role, name, same, a, b, details)


def _values(role: str, name: str, a: Node, b: Node, fact: str, besides: Sequence[str] = ()) -> Part:
    one, other = a.facts.get(fact), b.facts.get(fact)
    if isinstance(one, list) and isinstance(other, list):
        return _plain(role, name, one, other)
    lines = value_lines(one, other)
    for key in besides:
        lines += value_lines({key: a.facts.get(key)}, {key: b.facts.get(key)})
    return Part(role, name, not lines, one, other, tuple(lines))


def _line_point(node: Node) -> str:
    return str(node.facts.get("entity_type"))


def _use_of(point: Node) -> DataUse:
    logs = tuple(
        LogPoint(one["origin"], one["size"], None) for one in point.facts.get("logs") or []
    )
    return DataUse(entity_type=point.facts.get("entity_type"), logs=logs)
