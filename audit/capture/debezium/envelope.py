"""From a change event of Debezium to an event of ours; what cannot be one is refused with reason.

`c` and `r` are creates (a row that an incremental snapshot reads is an update: mostly it is there
already), `u` is an update with the whole row, `d` a delete, `t` a truncate. `after` is the whole
row, so a column that is gone is gone here, too, and a value that the source did not send is
unchanged.
"""

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from audit.capture.debezium.entities import Entities, TableName
from audit.capture.debezium.identity import Place, event_id, position
from audit.capture.debezium.json_read import Said
from audit.capture.key_part import key_part
from audit.errors import FormatError
from audit.event.build import Built, data_event
from audit.event.normal import key_text
from audit.event.row import FULL, PATCH
from audit.event.shown import shown
from audit.event.types import SCHEMA_SOURCE
from audit.log.intake import LEDGER_SOURCE
from audit.replay.rows import ABSENT, changed_fields, unchanged

SNAPSHOT_REASON = "snapshot"
"""The reason of an event that says what a snapshot read, and nobody did."""

_OPS = {"c": "create", "r": "create", "u": "update", "d": "delete", "t": "truncate"}
_RESERVED = (LEDGER_SOURCE, SCHEMA_SOURCE)
_EMPTY = (0, 0.0, "", b"", False, "AA==")
"""The last is the zero of a decimal, where no schema says that it is one."""

CHANGE, MESSAGE = "change", "message"
SCHEMA_CHANGE, TRANSACTION, HEARTBEAT = "schema change", "transaction", "heartbeat"


class Change(NamedTuple):
    """What a message says, ready to become an event."""

    op: str
    entity_type: str
    key: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    event_id: str
    source: str
    valid_time_us: int | None
    transaction_id: str | None
    reason: str | None


def kind_of(said: Said) -> str:
    """What a message is about. Raises FormatError for what Debezium does not say."""
    value, name = said.value, said.schema
    if type(value) is dict:
        if "op" in value and type(value.get("source")) is dict:
            return MESSAGE if value["op"] == "m" else CHANGE
        if name.endswith(".SchemaChangeValue") or "tableChanges" in value or "ddl" in value:
            return SCHEMA_CHANGE
        if name.endswith(".TransactionMetadataValue") or (
            value.get("status") in ("BEGIN", "END") and "id" in value
        ):
            return TRANSACTION
        if name.endswith(".Heartbeat") or value.keys() <= {"ts_ms", "ts_us", "ts_ns"}:
            return HEARTBEAT
    raise FormatError(
        "no change event of Debezium, with op and source: was it flattened by the transformation "
        "ExtractNewRecordState?"
    )


def change_of(
    said: Said, key: Said | None, place: Place, entities: Entities, source: str | None
) -> Change:
    """The change that a message of kind CHANGE says; `key` is what its key says.

    `source`: in place of the connector's own name. Raises FormatError, InvalidInput,
    LimitExceeded.
    """
    envelope, block = said.value, said.value["source"]
    code = envelope["op"]
    op = _OPS.get(code) if type(code) is str else None
    if op is None:
        raise FormatError(f"Debezium has no operation {shown(code)}")
    if block.get("connector") == "mongodb":
        raise FormatError("changes of MongoDB are documents, which are not taken in")
    table = TableName(*(_name(block, part) for part in ("name", "db", "schema", "table")))
    if not table.table or not table.server:
        raise FormatError("the source block names no table, or no connector")
    if source is None and table.server in _RESERVED:
        raise FormatError(f"the connector's name {table.server!r} is the ledger's own source")
    entity = entities.of(table)
    is_read = code == "r"
    if is_read and block.get("snapshot") == "incremental":
        op = "update"
    text = None if op == "truncate" else key_text(_key(key))
    before = _row(envelope, "before") if op in ("update", "delete") else None
    after = _row(envelope, "after") if op in ("create", "update") else None
    if op in ("create", "update") and after is None:
        raise FormatError(f"operation {code!r} without the row after it")
    if before is not None and key is not None:
        before = _known(before, key.value)
    valid_us, transaction = _valid_time(block), _transaction(envelope, block, table, is_read)
    where = position(block, place)
    parts = [*table, where, code, text, valid_us, transaction, before, after]
    return Change(
        op,
        entity,
        text,
        before,
        after,
        event_id(parts),
        source or table.server,
        valid_us,
        transaction,
        SNAPSHOT_REASON if is_read else None,
    )


class Form(NamedTuple):
    """How much of a change its event says."""

    before: dict[str, Any] | None
    after: dict[str, Any] | None
    image: str = FULL


def forms(change: Change) -> Iterator[Form]:
    """All that is known; then, for where that is too large for an event, forms that say less.

    Without the row before it; then, if that is known, only what differs from it.
    """
    before, after = change.before, change.after
    yield Form(before, after)
    if before is None:
        return
    yield Form(None, after)
    if after is not None:
        pairs = changed_fields(before, after)
        patch = {name: new for name, (_, new) in pairs.items() if new is not ABSENT}
        if len(pairs) == len(patch):
            yield Form(None, patch, PATCH)


def event_of(change: Change, form: Form) -> Built:
    """The event of a change. Raises InvalidInput, and LimitExceeded when it is too large."""
    return data_event(
        change.op,
        change.entity_type,
        change.key,
        event_id=change.event_id,
        source=change.source,
        before=form.before,
        after=form.after,
        image=form.image,
        valid_time_us=change.valid_time_us,
        transaction_id=change.transaction_id,
        reason=change.reason,
    )


def _name(block: Mapping[str, Any], part: str) -> str:
    value = block.get(part)
    if value is None:
        return ""
    if type(value) is not str:
        raise FormatError(f"the source block's {part} is {shown(value)}, and no text")
    return value


def _row(envelope: Mapping[str, Any], side: str) -> dict[str, Any] | None:
    row = envelope.get(side)
    if row is not None and type(row) is not dict:
        raise FormatError(f"{side} is {shown(row)}, and no row")
    return row


def _known(before: dict[str, Any], key: Any) -> dict[str, Any] | None:
    """What is known of the row before: with PostgreSQL's usual REPLICA IDENTITY only its key.

    Debezium fills the other columns with nulls, or where they may not be null with zeros: nobody
    knows them, and taken for values they would look like changes that were not captured.
    """
    names = set(key) if type(key) is dict else set()
    others = [value for name, value in before.items() if name not in names]
    if others and all(value is None or _is_empty(value) for value in others):
        before = {name: value for name, value in before.items() if name in names}
    return before or None


def _is_empty(value: Any) -> bool:
    if isinstance(value, list | dict):
        return not value
    if isinstance(value, Decimal):
        return not value
    if isinstance(value, date) and not isinstance(value, datetime):
        return value == date(1970, 1, 1)
    return unchanged(value) or value in _EMPTY or value in _ZERO_TIMES


_ZERO_TIMES = ("00:00:00", "1970-01-01T00:00:00", "1970-01-01T00:00:00Z", "00:00:00Z")


def _key(key: Said | None) -> Any:
    """The key of a message: one field's value, or the list of several."""
    value = None if key is None else key.value
    if value is None:
        raise FormatError(
            "a change without a key: its table has none; name its key's columns in the "
            "connector's message.key.columns"
        )
    if type(value) is not dict:
        return _key_part(value)
    if not value:
        raise FormatError("a change whose key has no field")
    parts = [_key_part(each) for each in value.values()]
    return parts[0] if len(parts) == 1 else parts


def _key_part(value: Any) -> str | int:
    if value is None:
        raise FormatError("a part of the change's key is null")
    return key_part(value, "key")


def _valid_time(block: Mapping[str, Any]) -> int | None:
    """When the change was made, by its database: the finest of what the source block says."""
    for name, number, parts in (("ts_us", 1, 1), ("ts_ns", 1, 1_000), ("ts_ms", 1_000, 1)):
        value = block.get(name)
        if value is None or value == 0:
            continue  # 0: MySQL's snapshots do not know it
        if type(value) is not int:
            raise FormatError(f"the source block's {name} is {shown(value)}, and no integer")
        return value * number // parts
    return None


def _transaction(
    envelope: Mapping[str, Any], block: Mapping[str, Any], table: TableName, is_read: bool
) -> str | None:
    """The transaction block's id; without one what the source block has, under its name."""
    said = envelope.get("transaction")
    if type(said) is dict and type(said.get("id")) is str and said["id"]:
        return said["id"]  # type: ignore[no-any-return]
    if is_read:
        return None  # all that a snapshot reads would be one
    if type(block.get("gtid")) is str and block["gtid"]:
        return block["gtid"]  # type: ignore[no-any-return]
    number = block.get("txId")
    return f"{table.server}:{number}" if type(number) in (int, str) and number != "" else None
