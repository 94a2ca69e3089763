"""`audit status`: how a ledger is, at a glance."""

from typing import TYPE_CHECKING

import click

from audit.cli.event_lines import when
from audit.cli.options import as_of_option, json_option, session_argument, store_option
from audit.cli.output import counted, write, write_block, write_json
from audit.cli.session import Session

if TYPE_CHECKING:
    from audit.ledger.status import LogStatus


@click.command()
@as_of_option
@store_option
@json_option
@session_argument
def status(session: Session, as_of: str | None, store: str, as_json: bool) -> None:
    """Logs, sizes, checkpoints and their age, what is quarantined, keys.

    `events` counts what applications said; schemas and the log's own entries are counted apart.
    """
    found = session.ledger(store).status(as_of)
    if as_json:
        write_json(found.to_json())
        return
    write_block([("ledger", found.address), ("datasets", ", ".join(found.datasets) or "none yet")])
    for log in found.logs:
        write("\n")
        write_block(_log_pairs(log))
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
        ("key", log.vkey),
    ]
    if log.newest_time_us is not None:
        pairs.insert(
            2, ("newest", f"{when(log.newest_time_us)} ({_age(log.newest_age_s or 0.0)} ago)")
        )
    pairs.extend(("producer", line) for line in log.producers)
    return pairs


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
