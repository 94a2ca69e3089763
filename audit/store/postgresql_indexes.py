"""Whether each index in PostgreSQL has the rows of its table: by amcheck, or by our own comparison.

Where the extension amcheck is installed and this role may call it, `bt_index_check` looks at each
index page by page (order, structure), and for every row of the table whether the index has it.

Elsewhere two readings of one snapshot are compared: all rows in the order of the table, and all
rows in the order of the index, counted and hashed under a seed that nobody knows before. That finds
an index that leaves rows out, or has some twice, or (of pages that are marked as visible to all,
where its own values are read) has other values than the table. It does not look at the pages.

Either way the whole store is read, by the server; this process only waits.
"""

from collections.abc import Iterator
from itertools import islice
from secrets import randbits
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Connection, Table

from audit.store import tables
from audit.store.postgresql import driver_of, quoted
from audit.store.postgresql_soundness import indexes_of, predicate_of, primary_key_of
from audit.store.soundness import MAX_REPORTED

_CORRUPT = ("XX001", "XX002")
"""SQLSTATE data_corrupted and index_corrupted."""

_AMCHECK = """
SELECT n.nspname::text
  FROM pg_extension e
  JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
                  AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
  JOIN pg_proc p ON p.oid = d.objid
  JOIN pg_language l ON l.oid = p.prolang
  JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE e.extname = 'amcheck' AND p.proname = 'bt_index_check' AND p.pronargs = 2
   AND l.lanname = 'c' AND has_function_privilege(p.oid, 'EXECUTE')
   AND has_schema_privilege(n.oid, 'USAGE')
"""

_BY_TABLE = {"enable_seqscan": "on", "enable_indexscan": "off", "enable_indexonlyscan": "off"}
_BY_INDEX = {"enable_seqscan": "off", "enable_indexscan": "on", "enable_indexonlyscan": "on"}
_ALWAYS = {
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "enable_incremental_sort": "off",
    "enable_tidscan": "off",
}


class _Checked(NamedTuple):
    """An index, and how its rows are asked for."""

    name: str
    columns: str
    where: str


def index_faults(connection: Connection, schema: str) -> list[str]:
    """Where an index has other rows than its table; empty when none has. Reads the whole store."""
    with driver_of(connection) as driver:
        found = driver.execute(_AMCHECK).fetchone()
        driver.rollback()
        faults = _by_amcheck(driver, schema, found[0]) if found else _compared(driver, schema)
        return list(islice(faults, MAX_REPORTED))


def _checked(table: Table) -> list[_Checked]:
    key = [column.name for column in table.primary_key.columns]
    checked = [_Checked(primary_key_of(table), ", ".join(map(quoted, key)), "true")]
    for index in indexes_of(table):
        columns = ", ".join(quoted(column.name) for column in index.columns)
        checked.append(_Checked(str(index.name), columns, predicate_of(index) or "true"))
    return checked


def _present(driver: psycopg.Connection[Any], schema: str) -> Iterator[tuple[str, list[_Checked]]]:
    """Each table with those of its indexes that are there; what is missing is said elsewhere."""
    query = "SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace(%s)"
    names = {name for (name,) in driver.execute(query, (quoted(schema),))}
    for table in tables.metadata.sorted_tables:
        checked = [index for index in _checked(table) if index.name in names]
        if checked and table.name in names:
            yield table.name, checked


def _by_amcheck(driver: psycopg.Connection[Any], schema: str, extension: str) -> Iterator[str]:
    check = f"SELECT {quoted(extension)}.bt_index_check(to_regclass(%s), true)".encode()
    for _, checked in _present(driver, schema):
        for index in checked:
            try:
                with driver.transaction():
                    driver.execute(check, (f"{quoted(schema)}.{index.name}",))
            except psycopg.Error as error:
                if error.sqlstate not in _CORRUPT:
                    raise
                reason = str(error).split("\n", 1)[0]
                yield f"the index {index.name} does not fit its table: {reason:.200}"


def _compared(driver: psycopg.Connection[Any], schema: str) -> Iterator[str]:
    seed = randbits(62)
    with driver.transaction():
        # One snapshot: appends go on meanwhile.
        driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        _set(driver, _ALWAYS)
        for table, checked in _present(driver, schema):
            name = f"{quoted(schema)}.{table}"
            _set(driver, _BY_TABLE)
            sums = ", ".join(
                f"{aggregate} FILTER (WHERE {index.where})"
                for index in checked
                for aggregate in ("count(*)", _hash(index.columns, seed))
            )
            whole = driver.execute(f"SELECT {sums} FROM {name}".encode()).fetchone()
            assert whole is not None
            _set(driver, _BY_INDEX)
            for at, index in enumerate(checked):
                rows = f"SELECT {index.columns} FROM {name} WHERE {index.where}"
                query = (
                    f"SELECT count(*), {_hash(index.columns, seed)} "
                    f"FROM ({rows} ORDER BY {index.columns}) ordered"
                )
                yield from _differing(driver, index, query, tuple(whole[2 * at : 2 * at + 2]))


def _differing(
    driver: psycopg.Connection[Any], index: _Checked, query: str, whole: tuple[Any, ...]
) -> Iterator[str]:
    plan = "\n".join(row[0] for row in driver.execute(f"EXPLAIN {query}".encode()))
    if f" using {index.name} on " not in plan:
        yield f"the index {index.name} cannot be read in its order"
        return
    found = driver.execute(query.encode()).fetchone()
    assert found is not None
    if tuple(found) != whole:
        count = f"{found[0]:,} rows, the table has {whole[0]:,}"
        what = count if found[0] != whole[0] else "other values than the table"
        yield f"the index {index.name} has {what}"


def _hash(columns: str, seed: int) -> str:
    """An aggregate that does not depend on the order of the rows."""
    return f"sum(hash_record_extended(ROW({columns}), {seed})::numeric)"


def _set(driver: psycopg.Connection[Any], settings: dict[str, str]) -> None:
    """Settings for the rest of the transaction."""
    calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
    driver.execute(f"SELECT {calls}".encode())
