"""Rows in the lineage: the point of the ledger they were read at, their events, who wrote them.

A record cites a dataset at a point, never its rows: which of them a prediction read is found by its
key and by the values that it asked with, among the rows as they were at that point.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from audit.errors import AuditError, InvalidInput, NotFound, Unavailable
from audit.event.normal import key_text
from audit.event.valuejson import fields_to_json
from audit.lineage.recorded.records import DataUse
from audit.lineage.tracing.graph import DECLARED, GENERATED, INFORMED, Builder, Node, short
from audit.lineage.tracing.trace_nodes import event_node, when
from audit.replay.asof import dataset
from audit.replay.fold import Row
from audit.replay.history import Version, history
from audit.replay.points import Cut
from audit.replay.refs import Ref, parse_entity
from audit.replay.rows import same_value
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

MAX_SCANNED_ENTRIES = 5_000
"""Larger logs are not searched for the rows that a prediction asked for; keys are looked up."""
MAX_ROWS = 100
"""Rows of one dataset that a prediction read, as far as they are shown."""
MAX_EVENTS = 100
"""Newest events of one row that are shown."""
MAX_KEYS_TRIED = 32
MAX_CHANGES_SINCE = 20
"""Newest changes of a row after it was read that its node lists; all are counted."""
MAX_WHO_CHARS = 40
MAX_WHY_CHARS = 80


class Rows:
    """Finds rows at points and puts them into a graph."""

    def __init__(self, reader: Reader, cut: Cut, graph: Builder) -> None:
        self.reader = reader
        self.cut = cut
        self.graph = graph
        self._logs = {info.origin: info.log for info in reader.logs()}

    def point_of(self, use: DataUse) -> tuple[Cut | None, str | None]:
        """The cut that a use cites, never above the trace's own, and what is wrong with it."""
        sizes: dict[int, int] = {}
        problem = None
        for point in use.logs:
            log = self._logs.get(point.origin)
            if log is None or point.size < 0:
                problem = f"the log {point.origin:.200} is not in this ledger"
                continue
            known = self.cut.size(log)
            if point.size > known:
                problem = f"{point.origin:.200} has only {known} entries by now, not {point.size}"
            sizes[log] = min(point.size, known)
        return (Cut(sizes, None, (), False, "", None) if sizes else None), problem

    def includes(self, use: DataUse, versions: Iterable[Version]) -> list[Version]:
        """The events that lie below the point that a use cites."""
        sizes = {self._logs.get(point.origin): point.size for point in use.logs}
        return [version for version in versions if version.index < sizes.get(version.log, 0)]

    def asked_for(self, use: DataUse, key: str | None, request: Mapping[str, Any]) -> list[str]:
        """Keys of the rows that were asked for at the point that a use cites.

        The row of the prediction's own key; those that a value of the request is the key of; and,
        where the log is small enough to be searched, those whose fields are as the request says.
        """
        point, _ = self.point_of(use)
        entity_type = use.entity_type
        if point is None or entity_type is None:
            return []
        try:
            parse_entity(entity_type)
        except InvalidInput:
            return []
        found = [one for one in keys_named(key, request) if self._is_there(entity_type, one, point)]
        total = sum(point.sizes.values())
        if request and total > MAX_SCANNED_ENTRIES:
            self.graph.cut(
                f"rows of {entity_type} were looked up by key alone, "
                f"not searched for among {total:,} entries"
            )
        elif request:
            found += self._matching(entity_type, point, use.valid_at_us, request)
        found = list(dict.fromkeys(found))
        if len(found) > MAX_ROWS:
            self.graph.cut(f"{len(found):,} rows of {entity_type} were read: {MAX_ROWS} are shown")
        return found[:MAX_ROWS]

    def _is_there(self, entity_type: str, key: str, point: Cut) -> bool:
        return any(
            next(iter(self.reader.entity(log, entity_type, key, size)), None) is not None
            for log, size in point.sizes.items()
            if size
        )

    def _matching(
        self, entity_type: str, point: Cut, valid_at_us: int | None, request: Mapping[str, Any]
    ) -> list[str]:
        try:
            rows = dataset(self.reader, entity_type, point, valid_at_us).rows()
            return [key for key, row in rows if asks_for(request, row)]
        except NotFound:
            return []

    def add(self, ref: Ref, point: Cut, depth: int, asked: bool = False) -> str | None:
        """Put a row into the graph, as it was at a point; its events are followed. Its id."""
        sizes = ",".join(f"{log}={size}" for log, size in sorted(point.sizes.items()))
        name = f"row:{ref}:{sizes}"
        if name in self.graph.nodes:
            return name
        try:
            versions = history(self.reader, ref, point)
            since = self._since(ref, point)
        except Unavailable:
            raise
        except AuditError as error:
            if asked:
                raise
            node = Node(name, "row", "", str(ref), problem=str(error))
            return name if self.graph.add(node, depth) else None
        node = row_node(name, ref, versions, since)
        added = self.graph.add(node, depth, lambda below: self.follow(name, versions, below))
        return name if added else None

    def _since(self, ref: Ref, point: Cut) -> list[Version]:
        """What happened to a row after the point it was read at, up to the trace's own cut.

        Of a log that the point does not name, what was recorded after the point's newest entry.
        """
        if point is self.cut or point.sizes == self.cut.sizes:
            return []
        later = [
            version
            for version in history(self.reader, ref, self.cut)
            if not point.holds((version.log, version.index))
        ]
        if all(version.log in point.sizes for version in later):
            return later
        read_us = max(
            (self._recorded_us(log, size) for log, size in point.sizes.items()), default=0
        )
        return [
            version
            for version in later
            if version.log in point.sizes or version.recorded_time_us > read_us
        ]

    def _recorded_us(self, log: int, size: int) -> int:
        if not size:
            return 0
        return trusted_record(log, size - 1, self.reader.leaf(log, size - 1)).recorded_time_us

    def follow(self, row: str, versions: list[Version], depth: int) -> None:
        """The events of a row, and the transactions that they belong to."""
        if len(versions) > MAX_EVENTS:
            self.graph.cut(f"a row has {len(versions):,} events: the newest {MAX_EVENTS} are shown")
        for version in versions[-MAX_EVENTS:]:
            node = event_node(version)
            if not self.graph.add(node, depth):
                return
            self.graph.link(row, node.id, GENERATED, DECLARED)
            if version.transaction_id is not None and depth < self.graph.depth:
                whole = transaction_node(version)
                if self.graph.add(whole, depth + 1):
                    self.graph.link(node.id, whole.id, INFORMED, DECLARED, "part of")


def keys_named(key: str | None, request: Mapping[str, Any]) -> list[str]:
    """What may be the key of a row: a prediction's own key, and values of what it asked with."""
    found = [] if key is None else [key]
    for value in list(request.values())[:MAX_KEYS_TRIED]:
        try:
            found.append(key_text(value))
        except InvalidInput:
            continue
    return list(dict.fromkeys(found))


def asks_for(request: Mapping[str, Any], row: Row) -> bool:
    """Whether a row has a field that the request names, and all of these as it says."""
    names = [name for name in request if name in row]
    return bool(names) and all(same_value(row[name], request[name]) for name in names)


def row_node(name: str, ref: Ref, versions: list[Version], since: list[Version]) -> Node:
    """A row: how many events made it, the last change, and what changed it after it was read."""
    facts: dict[str, Any] = {
        "events_since": len(since),
        "changes_since": [_change(version) for version in since[-MAX_CHANGES_SINCE:]],
    }
    afterwards = f"  {_since_text(since)}" if since else ""
    if not versions:
        label = "nothing of it was recorded by then" + afterwards
        return Node(name, "row", label, str(ref), facts=facts)
    last = versions[-1]
    label = (
        f"{_events(len(versions))}, last {last.op} by {_who(last)} {when(last.recorded_time_us)}"
    )
    facts |= {
        "events": len(versions),
        "row": None if last.row is None else fields_to_json(last.row),
        "last_change": {"op": last.op, "actor": last.actor, "reason": last.reason},
    }
    return Node(
        name,
        "row",
        label + afterwards,
        str(ref),
        last.log,
        last.index,
        last.recorded_time_us,
        facts,
        "the row is gone" if last.row is None else None,
    )


def _since_text(since: list[Version]) -> str:
    """`CHANGED SINCE IT WAS READ: 1 event, last update by clerk 2026-01-09T..Z set x because ..`.

    In capitals: where somebody complains about an answer, this is often why.
    """
    last = since[-1]
    text = (
        f"CHANGED SINCE IT WAS READ: {_events(len(since))}, last {last.op} by {_who(last)} "
        f"{when(last.recorded_time_us)}"
    )
    if last.changed and last.op == "update":
        text += " set " + short(", ".join(last.changed), MAX_WHO_CHARS)
    if last.reason is not None:
        text += f" because {short(last.reason, MAX_WHY_CHARS)}"
    return text


def _change(version: Version) -> dict[str, Any]:
    said = version.to_dict()
    names = ("log", "index", "recorded_time", "op", "actor", "reason", "changed", "supersedes")
    return {name: said[name] for name in names}


def _events(count: int) -> str:
    return f"{count:,} event{'s' if count != 1 else ''}"


def _who(version: Version) -> str:
    return short(version.actor or "nobody named", MAX_WHO_CHARS)


def transaction_node(version: Version) -> Node:
    """The transaction that events belong to: a snapshot's import, or an application's own."""
    return Node(
        f"transaction:{version.source}:{version.transaction_id}",
        "transaction",
        f"{version.transaction_id} of {version.source}",
        facts={"transaction_id": version.transaction_id, "source": version.source},
    )
