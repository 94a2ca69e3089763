"""`audit export`: Parquet files for other engines, and their check."""

from typing import TYPE_CHECKING

import click

from audit.cli.options import (
    QueryCommand,
    as_of_option,
    json_option,
    policy_option,
    query_argument,
    query_text,
    session_argument,
    store_option,
)
from audit.cli.output import counted, write, write_json
from audit.cli.progress import Progress
from audit.cli.session import Session, note

if TYPE_CHECKING:
    from audit.ledger.engines import Exporting
    from audit.ledger.export.check import ExportCheck


@click.command(cls=QueryCommand)
@query_argument
@click.option("--to", metavar="DIR|URL", help="Where to: a folder, or a URL such as s3://b/prefix.")
@click.option("--entity", "entities", metavar="E", multiple=True, help="Only this dataset.")
@click.option("--no-leaves", is_flag=True, help="Without each entry's exact bytes: smaller.")
@click.option("--check", metavar="DIR|URL", help="Check an export instead, offline.")
@policy_option
@as_of_option
@store_option
@json_option
@session_argument
def export(
    session: Session,
    query: tuple[str, ...],
    to: str | None,
    entities: tuple[str, ...],
    no_leaves: bool,
    check: str | None,
    policy: str | None,
    as_of: str | None,
    store: str,
    as_json: bool,
) -> None:
    """Write events and datasets as Parquet, with a manifest that the ledger's key signs.

    \b
    events/log=N/month=YYYY-MM/   every entry; with a QUERY only those that fit, and the schemas
    changes/ENTITY/               each dataset: a row an event, a column a field
    sql/ENTITY.ENGINE.sql         the dataset as of a time, for DuckDB, Spark and Trino
    manifest.json                 heads, checkpoints, every file's SHA-256; written last

    \b
    audit export --to lake/                       # again later: adds what was recorded since
    audit export --to s3://bucket/lake --entity inquiry
    audit export --check lake/ --policy audit.policy

    For the axis of valid time order by _valid_time, _recorded_time, _log instead, and keep the rows
    with _valid_time at or before yours. A QUERY selects events; datasets are left out then.
    """
    if check is not None:
        if to is not None or query or entities or as_of is not None or no_leaves:
            raise click.UsageError("--check goes with --policy and --json alone")
        _check(session, check, policy, store, as_json)
        return
    if to is None:
        raise click.UsageError("say where to with --to, or what to check with --check")
    if policy is not None:
        raise click.UsageError("--policy is for --check")
    ledger = session.ledger(store)
    with Progress("exporting", "entries") as progress:
        made = ledger.export(
            to,
            query_text(query),
            as_of,
            entities=entities or None,
            leaves=not no_leaves,
            progress=progress,
        )
    if as_json:
        write_json(_json(made))
        return
    note("\n".join(_lines(made)))


def _lines(made: "Exporting") -> list[str]:
    result = made.result
    manifest = result.manifest
    how = f"{result.added:,} added, " if result.extended else ""
    files = counted(len(manifest.files), "file")
    lines = [
        f"{result.address}: {how}{counted(result.entries, 'entry')} and "
        f"{counted(len(manifest.datasets), 'dataset')} in {files}, {result.size_bytes:,} bytes"
    ]
    for log in manifest.logs:
        lines.append(f"  {log.origin} at size {log.size}, root {log.root_hash.hex()}")
    for entity, found in sorted(manifest.datasets.items()):
        lines += [f"{entity}: {remark}" for remark in found.remarks]
    why = made.unsigned_because
    lines.append("manifest signed" if why is None else f"manifest NOT SIGNED: {why}")
    return lines


def _json(made: "Exporting") -> dict[str, object]:
    result = made.result
    manifest = result.manifest
    return {
        "to": result.address,
        "extended": result.extended,
        "added": result.added,
        "entries": result.entries,
        "files": len(manifest.files),
        "bytes": result.size_bytes,
        "signed": made.unsigned_because is None,
        "unsigned_because": made.unsigned_because,
        "logs": [
            {"origin": log.origin, "size": log.size, "root_hash": log.root_hash.hex()}
            for log in manifest.logs
        ],
        "datasets": {name: list(found.remarks) for name, found in manifest.datasets.items()},
    }


def _check(session: Session, where: str, policy: str | None, store: str, as_json: bool) -> None:
    from audit.ledger.export.check import check_export
    from audit.ledger.export.place import open_place
    from audit.ledger.open import policy_for
    from audit.verify.policy import Policy

    trusted = policy_for(store) if policy is None else Policy.from_file(policy)
    with Progress("checking", "entries") as progress:
        checked = check_export(open_place(where), trusted, progress)
    session.exit_code = checked.exit_code
    if as_json:
        write_json(checked.to_json())
        return
    from audit.ledger.harmless import harmless

    for line in _report(checked):
        write(harmless(line) + "\n")


_HEADLINES = {
    "ok": "OK: the export is what the log recorded",
    "tampered": "TAMPERED: the export is not what was recorded, or not what was exported",
    "cannot_tell": "CANNOT TELL: there is not enough to judge by",
}
_NOT_PROVEN = {
    "columns": "what the columns say: the entries' bytes were left out of this export",
    "manifest": "who made the export: its manifest is not signed",
    "selection": "that the selection leaves nothing out",
}


def _report(checked: "ExportCheck") -> list[str]:
    from audit.verify.codes import NOT_PROVEN

    lines = [
        f"{_HEADLINES[checked.verdict.value]} ({checked.subject})",
        f"trusting {checked.trust}",
        f"manifest signed by {checked.signed}",
    ]
    for log in checked.logs:
        under = "no checkpoint that is trusted"
        if log.checkpoint_size is not None:
            under = f"signed checkpoint of size {log.checkpoint_size}"
        lines.append(
            f"log {log.origin} at size {log.size}, root {log.root_hash.hex()}, under {under}"
        )
    lines.append(f"{counted(checked.entries, 'entry')} looked at")
    lines += [f"FOUND  {finding.code}: {finding.message}" for finding in checked.findings]
    for name in checked.not_proven:
        lines.append(f"NOT PROVEN  {_NOT_PROVEN.get(name) or NOT_PROVEN.get(name, name)}")
    return lines
