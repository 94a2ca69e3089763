"""How a ledger is: its logs, what they hold, how fresh they are. The first thing to look at."""

from typing import TYPE_CHECKING, Any, NamedTuple

from audit.capture.delivery.keyring import list_keys
from audit.errors import NotFound
from audit.event.times import format_time
from audit.ledger.conflicts import conflicts_below
from audit.ledger.sources import lags_of, waiting_spools
from audit.replay.known import datasets
from audit.replay.points import Cut
from audit.replay.steps import trusted_record
from audit.store.contract import LOG_OF_THE_LEDGER, LogInfo, Reader

if TYPE_CHECKING:
    from audit.capture.delivery.waiting import SpoolFile
    from audit.kafka.completeness import Lag


class LogStatus(NamedTuple):
    """One log. Ages are seconds before the ledger's clock; None where there is nothing yet.

    `events`: what applications said. `conflicts`: quarantined because their id belongs to another
    event. `checkpoint_size`: of the newest checkpoint, as old as the newest entry under it.
    `source_lag`: offsets that wait in the source; None where no source was asked.
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
    """All logs of a ledger. `warnings`: (code, message) of what is wrong with its guards.

    `source`: each partition of the source that was asked. `spools`: files on this machine in which
    emitted events wait.
    """

    address: str
    datasets: tuple[str, ...]
    logs: tuple[LogStatus, ...]
    warnings: tuple[tuple[str, str], ...]
    source: "tuple[Lag, ...]" = ()
    spools: "tuple[SpoolFile, ...]" = ()

    def to_json(self) -> dict[str, Any]:
        """As in INTERFACE: an object with `logs`."""
        return {
            "ledger": self.address,
            "datasets": list(self.datasets),
            "logs": [log.to_json() for log in self.logs],
            "warnings": [{"code": code, "message": text} for code, text in self.warnings],
            "source": [lag.to_json() for lag in self.source],
            "spools": [_spool_json(spool) for spool in self.spools],
        }


def _spool_json(spool: "SpoolFile") -> dict[str, Any]:
    oldest = None if spool.oldest_us is None else format_time(spool.oldest_us)
    return {
        "path": str(spool.path),
        "destination": spool.destination,
        "events": spool.events,
        "bytes": spool.bytes,
        "oldest": oldest,
        "alive": spool.alive,
    }


def status_of(
    reader: Reader, cut: Cut, now_us: int, url: str, source: str | None = None
) -> LedgerStatus:
    """The status at a cut; ages are counted back from `now_us`. `url`: of the store.

    With a `source` (see `audit.ledger.sources`) how far the logs are behind it now. Raises
    Unavailable, NotFound and InvalidInput for a source, too.
    """
    lags = () if source is None else tuple(lags_of(reader, source))
    waiting = {lag.log: lag.waiting for lag in lags}
    return LedgerStatus(
        reader.address,
        tuple(datasets(reader)),
        tuple(
            _log_status(reader, info, cut.size(info.log), now_us, waiting.get(info.log))
            for info in reader.logs()
        ),
        tuple(reader.warnings()),
        lags,
        tuple(waiting_spools(url, source)),
    )


def _log_status(
    reader: Reader, info: LogInfo, size: int, now_us: int, source_lag: int | None
) -> LogStatus:
    counts = reader.counts(info.log, size)
    newest_us = _recorded_us(reader, info.log, size)
    checkpoint_size = _checkpoint_size(reader, info.log, size)
    covered_us = _recorded_us(reader, info.log, checkpoint_size or 0)
    return LogStatus(
        log=info.log,
        origin=info.origin,
        vkey=info.vkey,
        size=size,
        events=counts.events,
        schemas=counts.schemas,
        control=counts.control,
        quarantined=counts.quarantined,
        conflicts=conflicts_below(reader, info, size, counts.quarantined),
        newest_time_us=newest_us,
        newest_age_s=_age_s(newest_us, now_us),
        checkpoint_size=checkpoint_size,
        checkpoint_age_s=_age_s(covered_us, now_us),
        source_lag=source_lag,
        producers=_producers(reader, info.log, size),
    )


def _recorded_us(reader: Reader, log: int, size: int) -> int | None:
    """When the last of the first `size` entries was recorded; None when it is not there."""
    if not size:
        return None
    try:
        return trusted_record(log, size - 1, reader.leaf(log, size - 1)).recorded_time_us
    except NotFound:
        return None


def _checkpoint_size(reader: Reader, log: int, size: int) -> int | None:
    """The size of the newest checkpoint at or below a size."""
    newest = reader.newest_checkpoint(log)
    if newest is None or newest.size <= size:
        return None if newest is None else newest.size
    sizes = [stored.size for stored in reader.checkpoints(log) if stored.size <= size]
    return max(sizes, default=None)


def _age_s(time_us: int | None, now_us: int) -> float | None:
    return None if time_us is None else max(0.0, (now_us - time_us) / 1_000_000)


def _producers(reader: Reader, log: int, size: int) -> tuple[str, ...]:
    """The producers' keys that the ledger has registered, as policy lines; they are in log 0."""
    if log != LOG_OF_THE_LEDGER:
        return ()
    return tuple(key.policy_line for key in list_keys(reader, size))
