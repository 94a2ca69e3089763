"""`audit sql`: read-only SQL over events and datasets."""

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import click

from audit.cli.options import as_of_option, json_option, session_argument, store_option
from audit.cli.session import Session, note
from audit.cli.stdin import read_text
from audit.errors import AuditError

if TYPE_CHECKING:
    from audit.cli.applications.sql_output import Show
    from audit.ledger import Ledger

HISTORY_FILE = "~/.audit_sql_history"
HISTORY_LINES = 1_000
PROMPT, MORE = "audit> ", "  ...> "
LEAVING = frozenset(("exit", "quit", "\\q"))


@click.command()
@click.argument("statement", required=False)
@click.option("--csv", "as_csv", is_flag=True, help="Print the rows as CSV.")
@click.option("--memory", metavar="SIZE", help="What a statement may take. Default: 1GB.")
@click.option("--threads", type=int, metavar="N", help="Threads it may take. Default: 2.")
@as_of_option
@store_option
@json_option
@session_argument
def sql(
    session: Session,
    statement: str | None,
    as_csv: bool,
    memory: str | None,
    threads: int | None,
    as_of: str | None,
    store: str,
    as_json: bool,
) -> None:
    """Run one SELECT in DuckDB: STATEMENT, or what stdin holds; on a terminal, a prompt.

    Tables: events, signed_records, each dataset as of now or --as-of, and each dataset at any
    point: asof('user', T) and, by valid time too, asof('user', T, V).

    \b
    audit sql 'SELECT type, count(*) FROM events GROUP BY type'
    audit sql "SELECT * FROM asof('user', '2026-01-31') WHERE dpt = 'ISR'"
    audit sql "FROM asof('user', 'HEAD') a ANTI JOIN asof('user', 'HEAD~10') b USING (entity_key)"
    audit sql 'DESCRIBE events'

    Reads nothing but the ledger: no files, no network, no extensions. What the rows stand on is
    said on stderr. A null field and one that was never set are both NULL.
    """
    from audit.cli.applications.sql_output import Show, shower

    if as_csv and as_json:
        raise click.UsageError("give --csv or --json, not both")
    show: Show = shower(as_csv, as_json)
    ledger = session.ledger(store)
    if statement is None and sys.stdin.isatty():
        _prompt(ledger, as_of, memory, threads, show)
        return
    text = read_text() if statement is None else statement
    with ledger.sql(text, as_of, memory=memory, threads=threads) as answer:
        show(answer)


def _prompt(
    ledger: "Ledger", as_of: str | None, memory: str | None, threads: int | None, show: "Show"
) -> None:
    """Read statements until the end; each ends with a semicolon. An error is said, and no more."""
    from audit.ledger.sql.engine import Kept

    with_history = _history()
    kept = Kept()
    note("one SELECT, ended by ; (SHOW TABLES; lists what there is) - leave with \\q or Ctrl-D")
    try:
        while (text := _statement()) is not None:
            try:
                with ledger.sql(text, as_of, memory=memory, threads=threads, kept=kept) as answer:
                    show(answer)
                    sys.stdout.flush()
            except AuditError as error:
                note(f"error: {error}")
            except KeyboardInterrupt:
                note("interrupted")
    finally:
        if with_history:
            _keep_history()


def _statement() -> str | None:
    """The next statement; None at the end. Ctrl-C drops what was begun."""
    lines: list[str] = []
    while True:
        try:
            line = input(MORE if lines else PROMPT)
        except EOFError:
            note("")
            return None
        except KeyboardInterrupt:
            note("")
            lines = []
            continue
        if not lines and line.strip().rstrip(";").lower() in LEAVING:
            return None
        lines.append(line)
        text = "\n".join(lines).strip()
        if not text:
            lines = []
        elif text.endswith(";"):
            return text


def _history() -> bool:
    """Line editing and what was typed before, where the platform has it."""
    try:
        import readline
    except ImportError:
        return False
    with contextlib.suppress(OSError):  # the first time there is none
        readline.read_history_file(os.path.expanduser(HISTORY_FILE))
    readline.set_history_length(HISTORY_LINES)
    return True


def _keep_history() -> None:
    import readline

    try:
        readline.write_history_file(os.path.expanduser(HISTORY_FILE))
    except OSError as error:
        note(f"what you typed is not kept: {error.strerror}")
