"""How a ledger is: its logs, what they hold, how fresh they are. The first thing to look at."""

from typing import TYPE_CHECKING, Any, NamedTuple

from audit.event.times import format_time
from audit.log.entry import Kind
from audit.log.intake import CONFLICT_REASON
from audit.replay.points import AsOf, Cut
from audit.replay.query import sort_of
from audit.replay.steps import trusted_record
from audit.store.contract import Counts, LogInfo

if TYPE_CHECKING:
    from audit.ledger import Ledger


class LogStatus(NamedTuple):
    """One log. Ages are seconds before the ledger's clock; None where there is nothing yet.

    `events`: what applications said. `conflicts`: quarantined because their id belongs to another
    event. `checkpoint_size`: of the newest checkpoint, as old as the newest entry under it.
    `source_lag`: entries that wait in the source; None where there is no broker.
    """

    log: int
    origin: str
    vkey: str
    size: int
    events: int
    schemas: int
    control: int
    quarantined: int
    conflicts: int
    newest_time_us: int | None
    newest_age_s: float | None
    checkpoint_size: int | None
    checkpoint_age_s: float | None
    source_lag: int | None
    producers: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        fields = self._asdict()
        newest = fields.pop("newest_time_us")
        return {
            **fields,
            "newest_time": None if newest is None else format_time(newest),
            "producers": list(self.producers),
        }


class LedgerStatus(NamedTuple):
    """All logs of a ledger. `warnings`: (code, message) of what is wrong with its guards."""

    address: str
    datasets: tuple[str, ...]
    logs: tuple[LogStatus, ...]
    warnings: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """As in INTERFACE: an object with `logs`."""
        return {
            "ledger": self.address,
            "datasets": list(self.datasets),
            "logs": [log.to_json() for log in self.logs],
            "warnings": [{"code": code, "message": text} for code, text in self.warnings],
        }


def status_of(ledger: "Ledger", as_of: AsOf = None) -> LedgerStatus:
    """The status at a point; default now."""
    cut = ledger.cut(as_of)
    return LedgerStatus(
        ledger.reader.address,
        tuple(ledger.datasets()),
        tuple(
            _log_status(ledger, info, cut) for info in ledger.reader.logs() if info.log in cut.sizes
        ),
        tuple(ledger.reader.warnings()),
    )


def _log_status(ledger: "Ledger", info: LogInfo, cut: Cut) -> LogStatus:
    size = cut.size(info.log)
    counts, conflicts = _counts(ledger, info.log, size)
    newest_us = _recorded_us(ledger, info.log, size)
    checkpoint_size = _checkpoint_size(ledger, info.log, size)
    return LogStatus(
        log=info.log,
        origin=info.origin,
        vkey=info.vkey,
        size=size,
        events=counts.events,
        schemas=counts.schemas,
        control=counts.control,
        quarantined=counts.quarantined,
        conflicts=conflicts,
        newest_time_us=newest_us,
        newest_age_s=_age_s(ledger, newest_us),
        checkpoint_size=checkpoint_size,
        checkpoint_age_s=_age_s(ledger, _recorded_us(ledger, info.log, checkpoint_size or 0)),
        source_lag=None,
        producers=_producers(ledger, info.log, size),
    )


def _counts(ledger: "Ledger", log: int, size: int) -> tuple[Counts, int]:
    """How many entries of each sort are below a size, and how many are conflicts."""
    sorts = dict.fromkeys(("event", "schema", "control", "quarantined"), 0)
    conflicts = 0
    for index, leaf in ledger.reader.special(log, size):
        record = trusted_record(log, index, leaf)
        sorts[sort_of(record)] += 1
        if record.entry.kind is Kind.QUARANTINED:
            conflicts += (record.entry.reason or "").startswith(CONFLICT_REASON)
    special = sorts["schema"] + sorts["control"] + sorts["quarantined"]
    counts = Counts(size, size - special, sorts["schema"], sorts["control"], sorts["quarantined"])
    return counts, conflicts


def _recorded_us(ledger: "Ledger", log: int, size: int) -> int | None:
    """When the last of the first `size` entries was recorded."""
    if not size:
        return None
    return trusted_record(log, size - 1, ledger.reader.leaf(log, size - 1)).recorded_time_us


def _checkpoint_size(ledger: "Ledger", log: int, size: int) -> int | None:
    """The size of the newest checkpoint at or below a size."""
    newest = ledger.reader.newest_checkpoint(log)
    if newest is None or newest.size <= size:
        return None if newest is None else newest.size
    sizes = [stored.size for stored in ledger.reader.checkpoints(log) if stored.size <= size]
    return max(sizes, default=None)


def _age_s(ledger: "Ledger", time_us: int | None) -> float | None:
    return None if time_us is None else max(0.0, (ledger.now_us() - time_us) / 1_000_000)


def _producers(ledger: "Ledger", log: int, size: int) -> tuple[str, ...]:
    """The producers' keys that the ledger has registered, as policy lines; they are in log 0."""
    from audit.capture.keyring import list_keys

    if log:
        return ()
    return tuple(key.policy_line for key in list_keys(ledger.reader, size))
