"""Showing replayed rows: as a table, CSV, JSONL, Parquet or JSON, and what they stand on."""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TextIO

import click

from audit.cli.files import new_file
from audit.cli.outcome import FINDINGS
from audit.cli.output import counted, write_block, write_json, write_table
from audit.cli.session import Session, note
from audit.replay.names import KEY_COLUMN, output_name
from audit.replay.rows_out import (
    json_row,
    plain_text,
    write_csv,
    write_jsonl,
    write_parquet,
)

if TYPE_CHECKING:
    from audit.ledger import Ledger
    from audit.ledger.answers import DatasetAnswer, RowAnswer
    from audit.ledger.checks import Checked
    from audit.replay.citation import Citation
    from audit.replay.fold import Row
    from audit.replay.select import Selected


class Wanted(NamedTuple):
    """What is to be replayed and how it is shown; `form` is table, csv, jsonl, parquet or json.

    `columns`: a mode, or names. `where`: conditions as they were typed.
    """

    what: str
    as_of: str | None
    valid_at: str | None
    columns: str | list[str]
    keys: tuple[str, ...] | None
    where: tuple[str, ...]
    form: str
    output: str | None
    check: bool
    policy: str | None


def show_dataset(session: Session, ledger: "Ledger", wanted: Wanted) -> None:
    """Replay a dataset."""
    from audit.replay.conditions import parse_wheres

    answer = ledger.dataset(
        wanted.what,
        wanted.as_of,
        wanted.valid_at,
        wanted.columns,
        keys=wanted.keys,
        filters=parse_wheres(wanted.where),
    )
    found, citation, hint = answer
    checked = _check(session, ledger, wanted, answer)
    if wanted.form == "json":
        rows = [json.loads(json_row(key, row)) for key, row in found.rows()]
        write_json(_document(citation, checked, {"dataset": wanted.what, "rows": rows}))
    else:
        count = _write(found, citation, wanted)
        note("\n".join(_citation_lines(wanted, citation, counted(count, "row"))))
    _remark(citation, hint, checked, found.undecodable)


def show_row(session: Session, ledger: "Ledger", wanted: Wanted) -> None:
    """Replay one row."""
    answer = ledger.row(wanted.what, wanted.as_of, wanted.valid_at)
    found, citation, hint = answer
    checked = _check(session, ledger, wanted, answer)
    key, row = found.ref.entity_key, found.row
    if wanted.form == "json":
        shown = None if row is None else json.loads(json_row(key, row))
        write_json(_document(citation, checked, {"ref": wanted.what, "row": shown}))
    else:
        rows = [] if row is None else [(key, row)]
        if wanted.form == "table":
            write_block(_row_pairs(row or {}), _label_columns(row or {}))
        else:
            _write_rows(rows, sorted(row or ()), citation, wanted)
        there = "there" if row is not None else "not there"
        note("\n".join(_citation_lines(wanted, citation, there)))
    _remark(citation, hint, checked, found.undecodable)


def _row_pairs(row: "Row") -> list[tuple[str, str]]:
    return [(name, plain_text(row[name])) for name in sorted(row)]


def _label_columns(row: "Row") -> int:
    return 2 + max((len(name) for name in row), default=10)


def _write(found: "Selected", citation: "Citation", wanted: Wanted) -> int:
    """Write all rows; returns how many."""
    if wanted.form == "table":
        named = [(output_name(name), name) for name in found.columns]
        if found.wanted.columns is None:
            named.sort()
        rows = ((key, *(_cell(row, name) for _, name in named)) for key, row in found.rows())
        return write_table((KEY_COLUMN, *(shown for shown, _ in named)), rows)
    return _write_rows(found, list(found.columns), citation, wanted)


def _write_rows(
    found: "Selected | list[tuple[str, Row]]",
    columns: list[str],
    citation: "Citation",
    wanted: Wanted,
) -> int:
    def rows() -> Any:
        return found if isinstance(found, list) else found.rows()

    if wanted.form == "parquet":
        with _binary(wanted.output) as out:
            return write_parquet(rows, columns, out, citation.to_dict())
    with _text(wanted.output) as text:
        if wanted.form == "csv":
            return write_csv(rows(), columns, text)
        return write_jsonl(rows(), text)


def _cell(row: "Row", name: str) -> str:
    return plain_text(row[name]) if name in row else ""


@contextmanager
def _binary(output: str | None) -> Iterator[BinaryIO]:
    if output is None:
        if sys.stdout.isatty():
            raise click.UsageError("parquet is not for a terminal: name a file with -o")
        yield sys.stdout.buffer
        return
    with new_file(output) as file:
        yield file


@contextmanager
def _text(output: str | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    with new_file(output) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="\n", write_through=False)
        yield text
        text.flush()
        text.detach()


def _check(
    session: Session, ledger: "Ledger", wanted: Wanted, answer: "DatasetAnswer | RowAnswer"
) -> "Checked | None":
    """With --verify: the answer, made again from all leaves."""
    if not wanted.check:
        return None
    policy = ledger.policy_file(wanted.policy)
    checked = ledger.check(wanted.what, answer, policy)
    if not checked.ok:
        session.exit_code = FINDINGS
    return checked


def _document(
    citation: "Citation", checked: "Checked | None", result: dict[str, Any]
) -> dict[str, Any]:
    document = {**result, "citation": citation.to_dict()}
    if checked is not None:
        document["verified"] = checked.to_json()
    return document


def _citation_lines(wanted: Wanted, citation: "Citation", result: str) -> list[str]:
    axis = f", valid at {wanted.valid_at}" if wanted.valid_at is not None else ""
    lines = [f"{wanted.what} as of {citation.asked}{axis}: {result}"]
    for log in citation.logs:
        root = "unknown here" if log.root_hash is None else log.root_hash.hex()
        covered = (
            "no checkpoint"
            if log.checkpoint is None
            else f"checkpoint of size {log.checkpoint.size}"
        )
        lines.append(f"  {log.origin} at size {log.size}, root {root}, under {covered}")
    return lines


def _remark(
    citation: "Citation", hint: str | None, checked: "Checked | None", undecodable: int
) -> None:
    lines = [*citation.remarks(), *([] if hint is None else [hint])]
    if undecodable:
        lines.append(f"could not be read, and not in the answer: {counted(undecodable, 'event')}")
    if checked is not None:
        lines.append(checked.sentence)
    if lines:
        note("\n".join(lines))
