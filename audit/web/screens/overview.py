"""The overview: is each log alive, covered by a checkpoint, and free of what was refused?"""

from typing import Any

from audit.errors import AuditError
from audit.event.times import format_time
from audit.ledger import Ledger
from audit.ledger.status import LogStatus
from audit.web.answer import Answer, Asked, Screen

RATE_SECONDS = 3600
"""Events of the last hour before the newest entry make the rate."""

MAX_NAMES = 100
"""Datasets that are named; the others are on a page of their own."""


def _answer(asked: Asked) -> Answer:
    status = asked.ledger.status(asked.cut, "" if asked.is_on("source") else None)
    logs = [_log(asked.ledger, log) for log in status.logs]
    data = {
        **status.to_json(),
        "datasets": list(status.datasets[:MAX_NAMES]),
        "datasets_in_all": len(status.datasets),
        "logs": logs,
        "pin": asked.permalink,
    }
    return Answer("Overview", data, {"health": _health(status.logs)}, ("audit", "status"))


def _log(ledger: Ledger, log: LogStatus) -> dict[str, Any]:
    return {**log.to_json(), "events_in_last_hour": _recent(ledger, log)}


def _recent(ledger: Ledger, log: LogStatus) -> int | None:
    """Entries of the hour before the newest one, by the store's index of times."""
    if log.newest_time_us is None:
        return None
    earlier_us = log.newest_time_us - RATE_SECONDS * 1_000_000
    try:
        return max(0, log.size - ledger.reader.size_at(log.log, earlier_us))
    except AuditError:
        return None


def _health(logs: tuple[LogStatus, ...]) -> list[tuple[str, str]]:
    """(ok | warn | bad, words) for each log, in their order."""
    return [_health_of(log) for log in logs]


def _health_of(log: LogStatus) -> tuple[str, str]:
    if log.size and log.checkpoint_size is None:
        return "bad", "nothing vouches for its entries"
    if log.checkpoint_size is not None and log.checkpoint_size < log.size:
        return "warn", f"{log.size - log.checkpoint_size:,} entries are under no checkpoint yet"
    if log.conflicts:
        return "warn", f"{log.conflicts:,} conflicting event ids"
    if log.quarantined:
        return "warn", f"{log.quarantined:,} quarantined"
    newest = "empty" if log.newest_time_us is None else format_time(log.newest_time_us)
    return "ok", f"all entries are under a checkpoint; newest {newest}"


OVERVIEW = Screen(
    path="/",
    template="overview.html",
    about="Health of each log: size, newest entry, checkpoint, quarantine, conflicts, rate.",
    answer=_answer,
    menu="Overview",
)
