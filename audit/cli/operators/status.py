"""`audit status`: how a ledger is, at a glance."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from audit.cli.options import (
    as_of_option,
    json_option,
    session_argument,
    source_option,
    store_option,
)
from audit.cli.output import counted, write, write_block, write_json, write_table
from audit.cli.session import Session
from audit.ledger.said import when

if TYPE_CHECKING:
    from audit.capture.database.backlog import Backlog
    from audit.capture.delivery.waiting import SpoolFile
    from audit.ledger.status import LedgerStatus, LogStatus

COLUMNS = ("LOG", "ORIGIN", "ENTRIES", "EVENTS", "QUARANTINED", "CONFLICTS", "NEWEST", "CHECKPOINT")
_NUMBERS = (0, 2, 3, 4, 5, 8)


@click.command()
@as_of_option
@source_option
@click.option("--database", metavar="URL", help="Also what waits in this application's outbox.")
@click.option("--schema", metavar="NAME", help="PostgreSQL: the schema of the outbox.")
@store_option
@json_option
@session_argument
def status(
    session: Session,
    as_of: str | None,
    source: str | None,
    database: str | None,
    schema: str | None,
    store: str,
    as_json: bool,
) -> None:
    """Logs, sizes, checkpoints and their age, what is quarantined, keys, what waits.

    `events` counts what applications said; schemas and the log's own entries are counted apart.
    With --source: how many offsets each log is behind its partition. The keys are printed as lines
    for a policy.
    """
    outbox = None if database is None else _outbox(database, schema)
    found = session.ledger(store).status(as_of, source)
    if as_json:
        extra = {} if outbox is None else {"outbox": outbox.to_json()}
        write_json({**found.to_json(), **extra})
        return
    write_block([("ledger", found.address), ("datasets", ", ".join(found.datasets) or "none yet")])
    if len(found.logs) == 1:
        write("\n")
        write_block(_log_pairs(found.logs[0]))
    else:
        _write_table(found)
    write_block(_waiting(found))
    if outbox is not None:
        write_block([("outbox", _outbox_line(outbox))])
    write_block(("WARNING", message) for _, message in found.warnings)


def _log_pairs(log: "LogStatus") -> list[tuple[str, str]]:
    counts = ", ".join(
        (
            counted(log.events, "event"),
            counted(log.schemas, "schema"),
            f"{log.control:,} of its own",
        )
    )
    pairs = [
        (f"log {log.log}", log.origin),
        ("holds", f"{counted(log.size, 'entry')}: {counts}"),
        ("checkpoint", _checkpoint(log)),
        ("quarantined", f"{log.quarantined:,}, {log.conflicts:,} of them conflicting event ids"),
        ("policy", f"log {log.vkey}"),
    ]
    if log.newest_time_us is not None:
        pairs.insert(
            2, ("newest", f"{when(log.newest_time_us)} ({_age(log.newest_age_s or 0.0)} ago)")
        )
    pairs.extend(("", line) for line in log.producers)
    return pairs


def _write_table(found: "LedgerStatus") -> None:
    """Several logs: a line for each, a line for all, and the lines of a policy."""
    logs = found.logs
    behind = any(log.source_lag is not None for log in logs)
    write("\n")
    write_table((*COLUMNS, *(("LAG",) * behind)), _rows(logs, behind), right=_NUMBERS)
    write("\n")
    lines = [f"log {log.vkey}" for log in logs]
    lines += [line for log in logs for line in log.producers]
    write_block((("policy" if not at else "", line) for at, line in enumerate(lines)))


def _rows(logs: "Sequence[LogStatus]", behind: bool) -> Iterator[tuple[str, ...]]:
    for log in logs:
        lag = "" if log.source_lag is None else f"{log.source_lag:,}"
        yield (
            str(log.log),
            log.origin,
            *_counts((log,)),
            "" if log.newest_age_s is None else f"{_age(log.newest_age_s)} ago",
            _short_checkpoint(log),
            *((lag,) * behind),
        )
    lag = f"{sum(log.source_lag or 0 for log in logs):,}"
    yield ("", "all", *_counts(logs), "", "", *((lag,) * behind))


def _counts(logs: "Sequence[LogStatus]") -> tuple[str, ...]:
    names = ("size", "events", "quarantined", "conflicts")
    return tuple(f"{sum(getattr(log, name) for log in logs):,}" for name in names)


def _short_checkpoint(log: "LogStatus") -> str:
    if log.checkpoint_size is None:
        return "NONE"
    behind = log.size - log.checkpoint_size
    return "covers all" if behind <= 0 else f"all but {behind:,}"


def _outbox(database: str, schema: str | None) -> "Backlog":
    from audit.capture.database.backlog import backlog
    from audit.capture.database.connect import open_database

    engine = open_database(database)
    try:
        return backlog(engine, schema)
    finally:
        engine.dispose()


def _outbox_line(found: "Backlog") -> str:
    """One line: how much an application's outbox holds."""
    oldest = "" if found.oldest_s is None else f", the oldest {_age(found.oldest_s)} old"
    sent = f"; {found.sent:,} sent and not yet found sealed" if found.sent else ""
    failed = f"; {found.failed:,} set aside, {found.behind:,} behind them" if found.failed else ""
    verb = "waits" if found.waiting == 1 else "wait"
    return f"{counted(found.waiting, 'row')} {verb}{oldest}{sent}{failed}"


def _waiting(found: "LedgerStatus") -> Iterator[tuple[str, str]]:
    """What is not sealed yet: in the source, and in the spools of this machine."""
    for at, lag in enumerate(found.source):
        yield "" if at else "source", f"{lag.topic}/{lag.partition}: {lag.words}"
    for at, spool in enumerate(found.spools):
        yield "" if at else "spool", _spool(spool)


def _spool(spool: "SpoolFile") -> str:
    since = "" if spool.oldest_us is None else f", the oldest of {when(spool.oldest_us)}"
    whose = "of a running process" if spool.alive else "left by a process that is gone"
    to = spool.destination or "(unreadable)"
    return f"{counted(spool.events, 'event')} for {to}{since}, {whose}: {spool.path}"


def _checkpoint(log: "LogStatus") -> str:
    if log.checkpoint_size is None:
        return "none: nothing vouches for the entries"
    behind = log.size - log.checkpoint_size
    covered = "all entries" if behind <= 0 else f"all but the newest {behind:,}"
    age = "" if log.checkpoint_age_s is None else f", {_age(log.checkpoint_age_s)} old"
    return f"size {log.checkpoint_size:,}{age}, covers {covered}"


def _age(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
