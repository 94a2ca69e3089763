"""`audit quarantine`: what could not be accepted."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from audit.cli.event_lines import when
from audit.cli.lazy import LazyGroup
from audit.cli.options import as_of_option, json_option, session_argument, store_option
from audit.cli.output import write, write_block, write_json, write_json_array, write_table
from audit.cli.session import Session

if TYPE_CHECKING:
    from audit.ledger import Ledger
    from audit.log.record import Record

COLUMNS = ("ENTRY", "RECORDED", "BYTES", "REASON")
BYTES_A_LINE = 32
MAX_LINES_SHOWN = 64


@click.group(cls=LazyGroup, later=("retry",))
def quarantine() -> None:
    """What could not be accepted - undecodable, or a conflicting event id - and why.

    It is sealed like everything else, and never part of an answer.
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
    if as_json:
        write_json_array(ledger.event_json(record) for record in found)
    else:
        write_table(COLUMNS, _rows(ledger, found), right=(0, 2))


def _rows(ledger: "Ledger", records: "Iterator[Record]") -> Iterator[tuple[str, ...]]:
    for record in records:
        yield (
            str(record.index) if ledger.single else f"{record.log}/{record.index}",
            when(record.recorded_time_us),
            str(len(record.entry.event)),
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
    if as_json:
        write_json(ledger.event_json(record))
        return
    entry = record.entry
    source = entry.source
    write_block(
        (
            ("entry", f"{record.log}/{record.index}"),
            ("recorded", when(record.recorded_time_us)),
            ("reason", entry.reason or ""),
            ("source", "embedded" if source is None else f"{source.topic}/{source.partition}"),
            ("signature", "none" if entry.signature is None else entry.signature.hex()),
            ("bytes", str(len(entry.event))),
        )
    )
    for line in _dump(entry.event):
        write(line + "\n")


def _dump(data: bytes) -> Iterator[str]:
    """Offset, hex and printable ASCII, for the first lines."""
    for at in range(0, min(len(data), BYTES_A_LINE * MAX_LINES_SHOWN), BYTES_A_LINE):
        part = data[at : at + BYTES_A_LINE]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{at:6d}  {part.hex(' ', 4):<{BYTES_A_LINE * 2 + BYTES_A_LINE // 4}} {text}"
    if len(data) > BYTES_A_LINE * MAX_LINES_SHOWN:
        yield "        (the rest is in --json)"
