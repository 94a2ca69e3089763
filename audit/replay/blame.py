"""Who set each field of a row, when, why, and at which position."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, SupportsIndex

from audit.errors import InvalidInput, StoreCorrupt
from audit.event.values import Value, format_time, to_json
from audit.replay.columns import Naming
from audit.replay.fold import ABSENT, Position, Row, Step, moves, same_value
from audit.replay.known import require_dataset, require_recorded
from audit.replay.onepass import KEYS_READ_AGAIN, batches
from audit.replay.points import Cut
from audit.replay.refs import Ref
from audit.replay.steps import Steps
from audit.store.contract import Reader


class Said(NamedTuple):
    """The entry behind something: its place, and who said it. Times in microseconds."""

    log: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    recorded_time_us: int
    valid_time_us: int
    event_id: str
    source: str
    op: str
    actor: str | None
    reason: str | None
    transaction_id: str | None

    @property
    def position(self) -> Position:
        """(log, index)."""
        return self.log, self.index

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {
            "log": self.log,
            "index": self.index,
            "recorded_time": format_time(self.recorded_time_us),
            "valid_time": format_time(self.valid_time_us),
            "event_id": self.event_id,
            "source": self.source,
            "op": self.op,
            "actor": self.actor,
            "reason": self.reason,
            "transaction_id": self.transaction_id,
        }


class FieldBlame(NamedTuple):
    """A field, its value, and the entry that gave it this value."""

    field: str
    value: Value
    said: Said

    @property
    def actor(self) -> str | None:
        """Who set it."""
        return self.said.actor

    @property
    def reason(self) -> str | None:
        """Why it was set."""
        return self.said.reason

    @property
    def index(self) -> int:  # type: ignore[override]  # hides tuple.index, as in Said
        """The entry that set it."""
        return self.said.index

    def __getitem__(self, key: SupportsIndex | slice | str) -> Any:
        """By position as a tuple, or by name what `to_dict` has under it. Raises KeyError."""
        return self.to_dict()[key] if isinstance(key, str) else tuple.__getitem__(self, key)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {"field": self.field, "value": to_json(self.value), **self.said.to_dict()}


class Blame(NamedTuple):
    """The fields of a row by name. `gone`: the entry that took the row away; then no fields.

    Both are empty when nothing of the row was in force yet at the asked point.
    """

    fields: tuple[FieldBlame, ...]
    gone: Said | None

    def __getitem__(self, key: SupportsIndex | slice | str) -> Any:
        """By position as a tuple, or the FieldBlame of a field by its name. Raises KeyError."""
        if not isinstance(key, str):
            return tuple.__getitem__(self, key)
        return {field.field: field for field in self.fields}[key]

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {
            "fields": [field.to_dict() for field in self.fields],
            "gone": None if self.gone is None else self.gone.to_dict(),
        }


def blame(reader: Reader, ref: Ref, cut: Cut, valid_at_us: int | None = None) -> Blame:
    """Who gave each field its value, as known at the cut, on either axis.

    An event that repeats a value has not set it: the one that brought it is named. A row deleted
    and created again begins anew. Raises NotFound for what was never recorded, InvalidInput for a
    REF that is no row.
    """
    if not ref.is_row:
        raise InvalidInput(f"{ref} is no row of a dataset; its history says who recorded it")
    found = Steps(reader, ref.entity_type, cut).of_key(ref.entity_key)
    _, blamed = blame_of(found, valid_at_us)
    if not blamed.fields and blamed.gone is None and all(step.is_keyless for step in found):
        require_recorded(reader, ref)
    return blamed


class Cell(NamedTuple):
    """A cell of a dataset: the key of its row, and who gave it its value."""

    entity_key: str
    blamed: FieldBlame

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {"entity_key": self.entity_key, **self.blamed.to_dict()}


def blame_cells(
    reader: Reader,
    entity_type: str,
    cut: Cut,
    valid_at_us: int | None = None,
    keys: Iterable[str] | None = None,
) -> Iterator[Cell]:
    """Who gave each cell of a dataset, or of some of its keys, its value: see `blame`.

    In byte order of the keys, fields by name; rows that are not there have no cells. Reads the
    entries of the keys where they are few, else the dataset once for each KEYS_READ_AGAIN keys.
    Raises NotFound for an unknown entity type.
    """
    require_dataset(reader, entity_type)
    steps = Steps(reader, entity_type, cut, Naming(reader, entity_type, cut))
    wanted = steps.keys() if keys is None else iter(sorted(set(keys), key=str.encode))
    for some in batches(wanted, KEYS_READ_AGAIN):
        found = steps.of_keys(some)
        for key in some:
            for blamed in blame_of(found.pop(key), valid_at_us)[1].fields:
                yield Cell(key, blamed)


def blame_of(found: Sequence[Step], valid_at_us: int | None) -> tuple[Row | None, Blame]:
    """The row that the steps of one key leave, and who gave each field its value."""
    walked = list(moves(found, valid_at_us))
    row = walked[-1].after.row if walked else None
    if row is None:
        ends = (one.step for one in reversed(walked) if one.before.row is not None)
        last = next(ends, None)
        return None, Blame((), None if last is None else said_of(last))
    setters: dict[str, Said] = {}
    missing = sorted(row)
    # Backwards: most fields were set by one of the last steps, and what came before is not asked.
    for move in reversed(walked):
        if not missing:
            break
        before, after = move.before.row, move.after.row or {}
        changed = missing
        if before is not None:
            changed = [n for n in missing if not same_value(before.get(n, ABSENT), after[n])]
        if changed:
            said = said_of(move.step)
            setters.update((name, said) for name in changed)
            missing = [name for name in missing if name not in setters]
    fields = (FieldBlame(name, row[name], setters[name]) for name in sorted(row))
    return row, Blame(tuple(fields), None)


def said_of(step: Step) -> Said:
    """The entry behind a step."""
    record = step.record
    event = record.event
    if event is None:
        raise StoreCorrupt(f"entry {record.log}/{record.index} holds no event")
    return Said(
        record.log,
        record.index,
        step.recorded_time_us,
        step.valid_time_us,
        event.event_id,
        event.source,
        event.type if step.op is None else step.op,
        event.actor,
        event.reason,
        event.transaction_id,
    )
