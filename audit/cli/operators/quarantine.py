"""`audit quarantine`: what could not be accepted."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from audit.cli.lazy import LazyGroup
from audit.cli.options import (
    as_of_option,
    json_option,
    policy_option,
    session_argument,
    store_option,
)
from audit.cli.outcome import FINDINGS
from audit.cli.output import write, write_block, write_json, write_json_array, write_table
from audit.cli.session import Session, note
from audit.ledger.harmless import hex_dump
from audit.ledger.said import when

if TYPE_CHECKING:
    from audit.ledger import Ledger
    from audit.ledger.retry import RetriedEntries
    from audit.log.record import Record

COLUMNS = ("ENTRY", "RECORDED", "BYTES", "RETRIED AS", "REASON")
BYTES_A_LINE = 32
MAX_LINES_SHOWN = 64


@click.group(cls=LazyGroup)
def quarantine() -> None:
    """What could not be accepted - undecodable, or a conflicting event id - and why.

    It is sealed like everything else, and never part of an answer. Once the cause is mended,
    `retry` records the event, linked to the quarantined bytes.
    """


@quarantine.command("list")
@as_of_option
@store_option
@json_option
@session_argument
def list_(session: Session, as_of: str | None, store: str, as_json: bool) -> None:
    """All quarantined entries, oldest first."""
    ledger = session.ledger(store)
    found = ledger.events("kind:quarantined", as_of)
    retried = _retried(ledger)
    if as_json:
        write_json_array(_json(ledger, record, retried) for record in found)
    else:
        write_table(COLUMNS, _rows(ledger, found, retried), right=(0, 2, 3))


def _retried(ledger: "Ledger") -> "RetriedEntries":
    from audit.ledger.retry import RetriedEntries

    return RetriedEntries(ledger.reader)


def _place(ledger: "Ledger", log: int, index: int) -> str:
    return str(index) if ledger.single else f"{log}/{index}"


def _json(ledger: "Ledger", record: "Record", retried: "RetriedEntries") -> dict[str, Any]:
    return {**ledger.event_json(record), "retried_as": retried.of(record)}


def _rows(
    ledger: "Ledger", records: "Iterator[Record]", retried: "RetriedEntries"
) -> Iterator[tuple[str, ...]]:
    for record in records:
        event_index = retried.of(record)
        yield (
            _place(ledger, record.log, record.index),
            when(record.recorded_time_us),
            str(len(record.entry.event)),
            "" if event_index is None else _place(ledger, record.log, event_index),
            record.entry.reason or "",
        )


@quarantine.command()
@click.argument("position")
@store_option
@json_option
@session_argument
def show(session: Session, position: str, store: str, as_json: bool) -> None:
    """One quarantined entry: why, where it came from, and its bytes."""
    ledger = session.ledger(store)
    record = ledger.entry(position)
    if record.event is not None:
        raise click.UsageError(f"entry {record.log}/{record.index} is not quarantined")
    retried = _retried(ledger)
    if as_json:
        write_json(_json(ledger, record, retried))
        return
    entry = record.entry
    event_index = retried.of(record)
    write_block(
        (
            ("entry", f"{record.log}/{record.index}"),
            ("recorded", when(record.recorded_time_us)),
            ("reason", entry.reason or ""),
            ("retried", "no" if event_index is None else f"as {record.log}/{event_index}"),
            ("source", _source(record)),
            ("signature", "none" if entry.signature is None else entry.signature.hex()),
            ("bytes", str(len(entry.event))),
        )
    )
    for line in _dump(entry.event):
        write(line + "\n")


def _source(record: "Record") -> str:
    source = record.entry.source
    if source is None:
        return "embedded"
    return f"{source.topic}/{source.partition} offset {source.offset}"


def _dump(data: bytes) -> Iterator[str]:
    """The first lines of a dump."""
    most = BYTES_A_LINE * MAX_LINES_SHOWN
    yield from hex_dump(data[:most], BYTES_A_LINE)
    if len(data) > most:
        yield "        (the rest is in --json)"


@quarantine.command()
@click.argument("positions", metavar="[POSITION]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that is quarantined and was not retried.")
@click.option("--reason", metavar="TEXT", help="Why it can be recorded now; stands in the log.")
@click.option(
    "--signatures",
    type=click.Choice(("record", "require", "ignore")),
    envvar="AUDIT_SIGNATURES",
    default="record",
    show_default=True,
    help="As for `audit consume`: with require, no event without a signature that holds.",
)
@policy_option
@store_option
@json_option
@session_argument
def retry(
    session: Session,
    positions: tuple[str, ...],
    every: bool,
    reason: str | None,
    signatures: str,
    policy: str | None,
    store: str,
    as_json: bool,
) -> None:
    """Record quarantined messages after all, once the cause is mended.

    What can be read by now, or is signed with a key that the policy pins by now, becomes an event
    of the same log, with an entry that links it to the quarantined bytes; never twice. What cannot
    be mended is said, with what to do instead: then exit 1, unless it was one of --all.
    """
    if bool(positions) == every:
        raise click.UsageError("name POSITIONs, or say --all")
    from audit.capture.delivery.embedded import open_for_writing
    from audit.ledger.guarded import check_not_rolled_back
    from audit.ledger.retry import Retrier

    ledger = session.ledger(store)
    trusted = ledger.policy_file(policy)
    retried = _retried(ledger)
    found: Iterator[Record] = (
        (record for record in ledger.events("kind:quarantined") if retried.of(record) is None)
        if every
        else (ledger.entry(position) for position in positions)
    )
    records = list(found)
    with open_for_writing(store) as writer:
        why = check_not_rolled_back(writer, {record.log for record in records}) if records else None
        if why is not None:
            note(why)
        retrier = Retrier(writer, trusted, reason, signatures == "require")
        outcomes = [retrier.retry(record) for record in records]
    refused = sum(outcome.event_index is None for outcome in outcomes)
    session.exit_code = FINDINGS if refused and not every else 0
    if as_json:
        write_json_array(outcome._asdict() for outcome in outcomes)
        return
    write_block((f"{outcome.log}/{outcome.index}", outcome.words) for outcome in outcomes)
    if refused and every:
        note(f"{refused:,} stay{'s'[refused > 1 :]} quarantined")
