"""An event's id, made of what its message says: the same change again is the same event.

The id is a digest of the table, of the change's place in the database's own log (below, by
connector), of its operation, key, time, transaction and values. So a message that is delivered
twice, by the connector or by the topic, adds nothing; equal changes at two places are two events; a
row that is read again by a later snapshot is a new event, for it was read at another time. What is
not in it, for it differs from delivery to delivery: when Debezium handled the change (`ts_ms` of
the envelope), its version, the topic's offset. Where a source block has no place, topic, partition
and offset stand for it: then a message that the topic holds twice is two events.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from audit.event.valuejson import dumps

ID_PREFIX = "debezium-"
ID_HEX_DIGITS = 40
MAX_PLACE_CHARS = 512
"""Longest text of one part of a place."""

_LSN = ("change_lsn", "commit_lsn")
POSITIONS: Mapping[str, tuple[str, ...]] = {
    "postgresql": ("lsn", "txId"),
    "mysql": ("server_id", "gtid", "file", "pos", "row"),
    "mariadb": ("server_id", "gtid", "file", "pos", "row"),
    "sqlserver": (*_LSN, "event_serial_no"),
    "oracle": ("scn", "commit_scn", "lcr_position", "rs_id", "ssn", "redo_thread", "txId"),
    "db2": _LSN,
    "informix": (*_LSN, "txId"),
    "vitess": ("vgtid", "shard"),
}
"""Connector -> what of its source block says where in the database's log a change stands."""
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "postgresql": ("lsn",),
    "mysql": ("file", "pos"),
    "mariadb": ("file", "pos"),
    "oracle": ("scn", "lcr_position"),
    "vitess": ("vgtid",),
}
"""Without one of these (with _LSN where nothing is said) there is no place."""


class Place(NamedTuple):
    """Where in Kafka a message was."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """For people."""
        return f"{self.topic}/{self.partition} at {self.offset}"


def position(source: Mapping[str, Any], place: Place) -> list[Any]:
    """Where a change stands in its database's log, or where that is not said, in its topic."""
    connector = source.get("connector")
    names = POSITIONS.get(connector, ()) if type(connector) is str else ()
    needed = _NEEDED.get(str(connector), _LSN)
    if names and any(_is_set(source.get(name)) for name in needed):
        return [connector, *(_part(source.get(name)) for name in names)]
    return [*place]


def event_id(parts: list[Any]) -> str:
    """The id of what the parts say. Raises InvalidInput, LimitExceeded for what is no value."""
    return ID_PREFIX + sha256(dumps(parts).encode()).hexdigest()[:ID_HEX_DIGITS]


def _is_set(value: Any) -> bool:
    return type(value) in (int, str) and value != ""


def _part(value: Any) -> Any:
    return value if type(value) is int else str(value)[:MAX_PLACE_CHARS] if value else None
