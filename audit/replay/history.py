"""All versions of one thing: what each event did to it, who said so, when and why."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, SupportsIndex

from audit.errors import InvalidInput, StoreCorrupt
from audit.event.row import Change
from audit.event.values import Value, fields_to_json, format_time, to_json
from audit.log.entry import Kind
from audit.replay.fold import (
    NOTHING,
    Absent,
    Drift,
    Flag,
    Judged,
    Position,
    Row,
    State,
    Step,
    as_recorded,
    changed_fields,
    flags_of,
    superseded,
)
from audit.replay.known import require_recorded
from audit.replay.points import Cut
from audit.replay.refs import Ref
from audit.replay.steps import Steps
from audit.store.contract import Reader

Changes = dict[str, tuple[Value | Absent, Value | Absent]]
"""Field -> (old, new); ABSENT where there is none."""


class Version(NamedTuple):
    """What one entry made of a thing. Times are microseconds since the epoch.

    `op` is create, update, delete or truncate, or the event's type where it is no change of a row.
    `row` is the row as it was known right after this entry (None: gone); for a record its fields.
    `flags` are given when the entry is recorded, and never change; `drift` and `problem` explain
    them. `superseded_by` is the entry that takes this one out, as known at the cut.
    """

    log: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    leaf_hash: bytes
    recorded_time_us: int
    valid_time_us: int
    event_id: str
    source: str
    op: str
    actor: str | None
    reason: str | None
    transaction_id: str | None
    supersedes: str | None
    superseded_by: Position | None
    changed: Changes
    row: Row | None
    flags: tuple[Flag, ...]
    drift: Drift
    problem: str | None

    def __getitem__(self, key: SupportsIndex | slice | str) -> Any:
        """By position as a tuple, or by name what `to_dict` has under it. Raises KeyError."""
        return self.to_dict()[key] if isinstance(key, str) else tuple.__getitem__(self, key)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold, spelled as `audit.event.values` does."""
        by = self.superseded_by
        return {
            "log": self.log,
            "index": self.index,
            "leaf_hash": self.leaf_hash.hex(),
            "recorded_time": format_time(self.recorded_time_us),
            "valid_time": format_time(self.valid_time_us),
            "event_id": self.event_id,
            "source": self.source,
            "op": self.op,
            "actor": self.actor,
            "reason": self.reason,
            "transaction_id": self.transaction_id,
            "supersedes": self.supersedes,
            "superseded_by": None if by is None else {"log": by[0], "index": by[1]},
            "changed": {name: pair_to_json(*pair) for name, pair in self.changed.items()},
            "row": None if self.row is None else fields_to_json(self.row),
            "flags": [str(flag) for flag in self.flags],
            "drift": {
                name: pair_to_json(held, said, ("recorded", "before"))
                for name, (held, said) in self.drift.items()
            },
            "problem": self.problem,
        }


def pair_to_json(
    old: Value | Absent, new: Value | Absent, names: tuple[str, str] = ("old", "new")
) -> dict[str, Any]:
    """{"old": ..., "new": ...} without the one that is absent."""
    pair = zip(names, (old, new), strict=True)
    return {name: to_json(value) for name, value in pair if not isinstance(value, Absent)}


def history(reader: Reader, ref: Ref, cut: Cut) -> list[Version]:
    """All versions of a thing recorded below the cut, in recorded order; empty before its first.

    A row's versions are the events of its key, and the truncates that took it away. Raises NotFound
    for a thing that was never recorded at all.
    """
    if ref.is_row:
        return _row_history(reader, ref, cut)
    return _record_history(reader, ref, cut)


def _row_history(reader: Reader, ref: Ref, cut: Cut) -> list[Version]:
    steps = Steps(reader, ref.entity_type, cut)
    found = steps.of_key(ref.entity_key)
    gone = superseded(found)
    versions = [version_of(move, gone) for move in moves_of(found)]
    if not versions:
        require_recorded(reader, ref)
    return versions


def moves_of(found: Iterable[Step], begin: State = NOTHING) -> Iterator[Judged]:
    """The steps of one key that are versions of its row, in recorded order, from a state on."""
    return (
        move for move in as_recorded(found, begin) if move.step.op is not None and _concerns(move)
    )


def _concerns(move: Judged) -> bool:
    """A truncate is a version of the rows that it took away, and of no other: not of those of
    another log."""
    taken_away = move.before.row is not None and move.after.row is None
    return move.step.op != "truncate" or taken_away


def _record_history(reader: Reader, ref: Ref, cut: Cut) -> list[Version]:
    """Versions of a run, model, dataset version, or of one prediction (named by its event id)."""
    steps = Steps(reader, ref.entity_type, cut)
    found = steps.of_key(ref.entity_key)
    if ref.entity_type == "prediction":
        found = [*_by_event_id(reader, steps, ref), *found]
        found = list({step.position: step for step in found}.values())
        found.sort(key=lambda step: step.order)
    gone = superseded(found)
    versions = []
    for step in found:
        if step.record.entry.kind is Kind.EVENT:
            versions.append(_record_version(steps, step, gone))
    if not versions and not (ref.entity_type == "prediction" and reader.find_event(ref.entity_key)):
        require_recorded(reader, ref)
    return versions


def _by_event_id(reader: Reader, steps: Steps, ref: Ref) -> list[Step]:
    """The prediction with this event id, and what later took it out."""
    own: list[Step] = []
    for log, index in reader.find_event(ref.entity_key):
        if not steps.cut.holds((log, index)):
            continue
        record = steps.record_at(log, index)
        event = record.event
        if event is None or event.entity_type != ref.entity_type or event.entity_key is None:
            continue
        own.append(steps.step(record))
        for other in steps.of_key(event.entity_key):
            said = other.record.event
            if said is not None and said.supersedes == ref.entity_key:
                own.append(other)
    return own


def _record_version(steps: Steps, step: Step, gone: dict[Position, Step]) -> Version:
    """A record is a version of its own: its fields are set by it, and by nothing before it."""
    row: Row | None = None
    problem = None
    event = step.record.event
    try:
        if event is not None and event.encryption is not None:
            problem = f"encrypted with a key that is not here ({event.encryption.key_id})"
        else:
            payload = steps.books.decode(step.record)
            row = payload.after if isinstance(payload, Change) else payload
    except InvalidInput as error:
        problem = str(error)
    flags = flags_of(NOTHING, step._replace(problem=problem))
    version = version_of(Judged(step, NOTHING, NOTHING, flags, {}), gone)
    return version._replace(row=row, changed=changed_fields(None, row), problem=problem)


def version_of(move: Judged, gone: Mapping[Position, Step]) -> Version:
    """A step as a version; `gone` as `superseded` tells it."""
    step = move.step
    record = step.record
    event = record.event
    if event is None:
        raise StoreCorrupt(f"entry {record.log}/{record.index} holds no event")
    by = gone.get(step.position)
    return Version(
        log=record.log,
        index=record.index,
        leaf_hash=record.leaf_hash,
        recorded_time_us=step.recorded_time_us,
        valid_time_us=step.valid_time_us,
        event_id=event.event_id,
        source=event.source,
        op=event.type if step.op is None else step.op,
        actor=event.actor,
        reason=event.reason,
        transaction_id=event.transaction_id,
        supersedes=event.supersedes,
        superseded_by=None if by is None else by.position,
        changed=changed_fields(move.before.row, move.after.row),
        row=move.after.row,
        flags=move.flags,
        drift=move.drift,
        problem=step.problem,
    )


def flagged(versions: Sequence[Version]) -> list[Version]:
    """The versions that something is odd about."""
    return [version for version in versions if version.flags]
