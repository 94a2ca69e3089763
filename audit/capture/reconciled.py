"""What reconciling a dataset with its live table found, and the event that says so."""

from datetime import datetime
from typing import Any, NamedTuple

from audit.event.build import Built, new_event_id, record_event
from audit.event.shown import shown
from audit.event.times import format_time, time_of_us
from audit.event.valuejson import fields_to_json

RECONCILED = "capture.reconciled"
"""Type of the event: counts and what they stand on, never a key or a value."""
SOURCE = "audit.reconcile"
REVIEW_ENTITY = "review"
"""The event is about the dataset as a whole, as reviews are: it is no row of it."""
MAX_COLUMNS_NAMED = 100
"""Columns that the event lists."""


class Different(NamedTuple):
    """A key whose contents differ, in which fields. Values are None unless they were asked for.

    Without fields: several rows of the table have this key.
    """

    key: str
    fields: tuple[str, ...]
    log: dict[str, Any] | None = None
    table: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it; values are there only if they were asked for."""
        said: dict[str, Any] = {"key": self.key, "fields": list(self.fields)}
        if self.log is not None and self.table is not None:
            said["log"] = fields_to_json(self.log)
            said["table"] = fields_to_json({n: _kept(v) for n, v in self.table.items()})
        return said


def _kept(value: Any) -> Any:
    # What no event can hold is shown as it reads.
    return shown(value) if type(value).__name__ == "Unkept" else value


class Pending(NamedTuple):
    """A key that does not fit and is not judged, for a change of it is under way, and where.

    `why`: waiting (in the outbox), sent (to the broker, not sealed yet), failed (set aside), since
    (recorded while the table was read).
    """

    key: str
    why: str


class Reconciled(NamedTuple):
    """A dataset compared with its live table at one moment.

    `missing`: keys in the table and not in the log; `extra`: in the log and not in the table; these
    lists, `different` and `pending` hold the first of them in key order, `counts` how many there
    are. `uncaptured`: columns of the table that hold something and were never recorded. `gone`:
    columns that the log knows and the table has no more: no difference. `outbox`: whether the
    database has one; without it changes under way cannot be told from differences.
    """

    entity_type: str
    table: str
    schema: str | None
    database: str
    snapshot_us: int
    counts: dict[str, int]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    different: tuple[Different, ...]
    pending: tuple[Pending, ...]
    columns: tuple[str, ...]
    uncaptured: tuple[str, ...]
    gone: tuple[str, ...]
    left_out: tuple[str, ...]
    outbox: bool
    logs: tuple[dict[str, Any], ...]
    remarks: tuple[str, ...]
    recorded: str | None = None

    @property
    def ok(self) -> bool:
        """Nothing is missing, extra or different, and no column goes uncaptured."""
        return not self.uncaptured and not any(
            self.counts[name] for name in ("missing", "extra", "different")
        )

    @property
    def snapshot(self) -> datetime:
        """When the table was read."""
        return time_of_us(self.snapshot_us)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "entity": self.entity_type,
            "table": self.table,
            "schema": self.schema,
            "database": self.database,
            "snapshot_time": format_time(self.snapshot_us),
            "ok": self.ok,
            "counts": self.counts,
            "missing": list(self.missing),
            "extra": list(self.extra),
            "different": [one.to_json() for one in self.different],
            "pending": [one._asdict() for one in self.pending],
            "columns": list(self.columns),
            "uncaptured": list(self.uncaptured),
            "gone": list(self.gone),
            "left_out": list(self.left_out),
            "outbox": self.outbox,
            "logs": [{**p, "root_hash": p["root_hash"] and p["root_hash"].hex()}
                     for p in self.logs],
            "remarks": list(self.remarks),
            "recorded": self.recorded,
        }  # fmt: skip

    def event(self) -> Built:
        """The event that says what was found: counts, never a key or a value."""
        said: dict[str, Any] = {
            "entity": self.entity_type,
            "table": self.table,
            "schema": self.schema,
            "snapshot_time": self.snapshot,
            "ok": self.ok,
            **self.counts,
            "columns": list(self.columns[:MAX_COLUMNS_NAMED]),
            "columns_compared": len(self.columns),
            "uncaptured": list(self.uncaptured[:MAX_COLUMNS_NAMED]),
            "gone": list(self.gone[:MAX_COLUMNS_NAMED]),
            "left_out": list(self.left_out[:MAX_COLUMNS_NAMED]),
            "outbox": self.outbox,
            "logs": list(self.logs),
        }
        return record_event(
            RECONCILED,
            said,
            event_id=new_event_id(),
            source=SOURCE,
            entity_type=REVIEW_ENTITY,
            entity_key=self.entity_type,
            valid_time_us=self.snapshot_us,
        )
