"""Running one statement: a DuckDB of its own in memory, closed in, with just the views it names.

Read-only by construction: it is not connected to the store. It has views, made here from what the
ledger's reader gives, and no way to anything else - no files, no network, no extensions, and a
configuration that no statement can change.
"""

import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.errors import AuditError, InvalidInput, LimitExceeded, Unavailable

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from audit.ledger.answers import DatasetAnswer
    from audit.ledger.sql.bounds import Bounds
    from audit.ledger.sql.wanted import AsofCall, Wanted
    from audit.replay.citation import Citation
    from audit.replay.columnar.kept.search import Columns
    from audit.replay.points import Cut
    from audit.store.contract import Reader

MEMORY_VARIABLE = "AUDIT_SQL_MEMORY"
DEFAULT_MEMORY = "1GB"
"""What a statement may take, for instance for a sort: there is no disk for it to go to."""
THREADS_VARIABLE = "AUDIT_SQL_THREADS"
DEFAULT_THREADS = 2
MAX_THREADS = 256
ROWS_FETCHED = 10_000
TABLES_KEPT = 4
"""Datasets that an interactive shell keeps in memory from one statement to the next."""
EVENTS, SIGNED_RECORDS = "events", "signed_records"

_MEMORY = re.compile(r"[1-9][0-9]{0,9}(KB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_SEPARATOR = "\x1f"
_CLOSED_IN = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "temp_directory": "",
}
_MACRO = f"""CREATE MACRO "asof"(e, t := NULL, v := NULL) AS TABLE FROM query_table(
  'asof' || chr({ord(_SEPARATOR)}) || e || chr({ord(_SEPARATOR)}) || coalesce(t::VARCHAR, '')
  || chr({ord(_SEPARATOR)}) || coalesce(v::VARCHAR, ''))"""


class Limits(NamedTuple):
    """What a statement may take of the machine. `memory` as DuckDB writes it: 500MB, 2GB."""

    memory: str
    threads: int


def limits(memory: str | None = None, threads: int | None = None) -> Limits:
    """Those given, else AUDIT_SQL_MEMORY and AUDIT_SQL_THREADS, else the defaults.

    Raises InvalidInput.
    """
    text = memory or os.environ.get(MEMORY_VARIABLE) or DEFAULT_MEMORY
    if not _MEMORY.fullmatch(text):
        raise InvalidInput(f"{text[:40]!r} is no amount of memory; write 500MB or 2GB")
    number = os.environ.get(THREADS_VARIABLE) or str(DEFAULT_THREADS)
    if threads is None and not number.isdecimal():
        raise InvalidInput(f"{THREADS_VARIABLE} is a number of threads, not {number[:40]!r}")
    count = int(number[:9]) if threads is None else threads
    if not 1 <= count <= MAX_THREADS:
        raise InvalidInput(f"threads are 1 to {MAX_THREADS}, not {count}")
    return Limits(text, count)


class Sources(NamedTuple):
    """What statements are answered from: the ledger's own methods, at the point of this statement.

    `dataset(entity_type, point, valid_at)`: None as point is the statement's own. `model()`: the
    read model, where it is worth asking.
    """

    reader: "Reader"
    cut: "Cut"
    citation: "Citation"
    names: list[str]
    dataset: "Callable[[str, str | None, str | None], DatasetAnswer]"
    model: "Callable[[], Columns | None]"


class SqlAnswer:
    """The rows of a statement, and what they stand on. Read them once; `close` when done.

    `columns`: their names. `cited`: (what, citation) of the events and of each asof() read.
    """

    def __init__(self, run: "_Run") -> None:
        """Use `Ledger.sql`."""
        self._run = run
        self.columns: tuple[str, ...] = run.columns
        self.cited = run.cited

    def batches(self) -> "Iterator[pyarrow.RecordBatch]":
        """The rows in Arrow batches. Raises InvalidInput, LimitExceeded, StoreCorrupt."""
        return self._run.batches()

    def arrow(self) -> "pyarrow.Table":
        """All rows as an Arrow table; its metadata's `audit` is the citation. Closes."""
        import json

        import pyarrow as pa

        with self:
            table = pa.Table.from_batches(list(self.batches()), self._run.schema())
        return table.replace_schema_metadata({"audit": json.dumps(self.citation())})

    def df(self) -> "pandas.DataFrame":
        """All rows as a pandas frame with Arrow's types; `attrs["audit"]` is the citation."""
        import pandas as pd

        frame: pandas.DataFrame = self.arrow().to_pandas(types_mapper=pd.ArrowDtype)
        frame.attrs["audit"] = self.citation()
        return frame

    def citation(self) -> list[dict[str, Any]]:
        """What the rows stand on, in plain values: one for the statement, and one for each asof."""
        return [{"what": what, **citation.to_dict()} for what, citation in self.cited]

    def close(self) -> None:
        """Let go of the engine. Safe to repeat."""
        self._run.close()

    def __enter__(self) -> "SqlAnswer":
        """The answer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


class Kept:
    """Tables of datasets, the ones used last."""

    def __init__(self) -> None:
        """None yet."""
        self._tables: OrderedDict[tuple[Any, ...], pyarrow.Table] = OrderedDict()

    def table(self, answer: "DatasetAnswer") -> "pyarrow.Table":
        """The table of an answer."""
        from audit.ledger.sql.sources import dataset_table

        found = answer.dataset
        at = tuple((log.log, log.size, log.root_hash) for log in answer.citation.logs)
        key = (found.entity_type, found.valid_at_us, at)
        table = self._tables.pop(key, None)
        if table is None:
            table = dataset_table(found)
        self._tables[key] = table
        while len(self._tables) > TABLES_KEPT:
            self._tables.popitem(last=False)
        return table


def run_sql(statement: str, sources: Sources, given: Limits, kept: Kept | None = None) -> SqlAnswer:
    """Run one statement.

    Raises InvalidInput for a statement that is wrong or does more than read, LimitExceeded for one
    that takes more memory than allowed, Unavailable without DuckDB.
    """
    run = _Run(given)
    try:
        run.begin(statement, sources, Kept() if kept is None else kept)
    except BaseException:
        run.close()
        raise
    return SqlAnswer(run)


class _Run:
    """A connection, and the one statement that it runs."""

    def __init__(self, given: Limits) -> None:
        try:
            import duckdb
        except ImportError:
            raise Unavailable(
                "SQL over a ledger needs DuckDB: pip install 'attestory[sql]'"
            ) from None
        self._errors = duckdb
        self._limits = given
        self._streams: list[Any] = []
        self._connection: Any = None
        self._relation: Any = None
        self.columns: tuple[str, ...] = ()
        self.cited: list[tuple[str, Citation]] = []
        with self._translated():
            self._connection = duckdb.connect(
                ":memory:",
                config={
                    **_CLOSED_IN,
                    "memory_limit": given.memory,
                    "threads": str(given.threads),
                },
            )

    def begin(self, statement: str, sources: Sources, kept: Kept) -> None:
        from audit.ledger.sql.wanted import wanted

        with self._translated():
            asked = wanted(self._connection, statement)
            self._connection.execute("SET TimeZone = 'UTC'")
            self._connection.execute(_MACRO)
            self._register(asked, sources, kept)
            # From here on there is no way out, and no way back.
            self._connection.execute("SET enable_external_access = false")
            self._connection.execute("SET lock_configuration = true")
            try:
                self._relation = self._connection.sql(statement)
            except self._errors.BinderException:
                if asked.columns is None or EVENTS not in asked.tables:
                    raise
                # A name that is a column's in a way not foreseen: then all columns are there.
                self._events(sources, None, asked.bounds)
                self._relation = self._connection.sql(statement)
            if self._relation is not None:
                self.columns = tuple(self._relation.columns)

    def _register(self, asked: "Wanted", sources: Sources, kept: Kept) -> None:
        from audit.ledger.sql.sources import signed_stream

        views = {EVENTS, SIGNED_RECORDS}
        named = [name for name in sources.names if name not in views and name in asked.tables]
        if EVENTS in asked.tables or asked.lists:
            self._events(sources, asked.columns, asked.bounds)
        if SIGNED_RECORDS in asked.tables or asked.lists:
            self._stream(SIGNED_RECORDS, signed_stream(sources.reader, sources.cut))
        if asked.lists:
            self._names_alone([n for n in sources.names if n not in views and n not in named])
        if named or asked.lists or views & asked.tables:
            self.cited.append((sources.citation.asked, sources.citation))
        for name in named:
            self._connection.register(name, kept.table(sources.dataset(name, None, None)))
        for call in dict.fromkeys(asked.asof):
            answer = sources.dataset(call.entity_type, call.point, call.valid_at)
            self._connection.register(_table_of(call), kept.table(answer))
            self.cited.append((_shown(call), answer.citation))

    def _events(self, sources: Sources, columns: frozenset[str] | None, bounds: "Bounds") -> None:
        from audit.ledger.sql.sources import events_stream

        self._stream(
            EVENTS, events_stream(sources.reader, sources.cut, columns, sources.model, bounds)
        )

    def _stream(self, name: str, stream: Any) -> None:
        self._streams.append(stream)
        self._connection.register(name, stream)

    def _names_alone(self, names: list[str]) -> None:
        """For SHOW TABLES the names are enough: nothing is replayed."""
        import pyarrow as pa

        for name in names:
            self._connection.register(name, pa.table({"entity_key": pa.array([], pa.string())}))

    def schema(self) -> "pyarrow.Schema":
        return self._schema

    def batches(self) -> "Iterator[pyarrow.RecordBatch]":
        import pyarrow as pa

        self._schema = pa.schema([])
        if self._relation is None:
            return
        with self._translated():
            reader = self._relation.to_arrow_reader(ROWS_FETCHED)
            self._schema = reader.schema
        while True:
            with self._translated():
                batch = next(reader, None)
            if batch is None:
                return
            yield batch

    def close(self) -> None:
        self._relation = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """The seam where the engine's errors become ours, in one line."""
        import pyarrow as pa

        try:
            yield
        except AuditError:
            raise
        except (self._errors.Error, pa.ArrowException, OSError, UnicodeError) as error:
            failed = next((s.failed for s in self._streams if s.failed is not None), None)
            if failed is not None:
                raise failed from None
            message = _one_line(str(error))
            if isinstance(error, self._errors.OutOfMemoryException) or "Out of Memory" in message:
                raise LimitExceeded(
                    f"the statement needs more memory than {self._limits.memory}; "
                    f"give more with --memory or {MEMORY_VARIABLE}"
                ) from None
            if isinstance(error, self._errors.InterruptException):
                raise KeyboardInterrupt from None
            raise InvalidInput(message) from None


def _table_of(call: "AsofCall") -> str:
    """The name under which the macro looks for a call's table."""
    return _SEPARATOR.join(("asof", call.entity_type, call.point or "", call.valid_at or ""))


def _shown(call: "AsofCall") -> str:
    valid = "" if call.valid_at is None else f", valid at {call.valid_at}"
    return f"{call.entity_type} as of {call.point or 'HEAD'}{valid}"


def _one_line(text: str) -> str:
    """The engine's message without the picture of the statement."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    kept = [line for line in lines[:3] if not line.startswith(("LINE ", "^", "Stack Trace"))]
    return " ".join(kept)[:500] or "the statement failed"
