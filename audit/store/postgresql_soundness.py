"""Whether the schema in PostgreSQL is built as this release builds it, told from its catalog.

A database may lie in its very schema: a table that is a view without end, a child table whose rows
show up in its parent's, a policy that hides rows, an index that leaves some out. What is found is
compared in facts, not in the text of definitions, which each PostgreSQL prints its own way; where
there is no way around a text (a predicate, the view), brackets, casts of constants and white space
between words do not count. Types, collations and operator classes are those of the server itself:
their names alone say little, for every schema may have one of that name.
"""

import re
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Index, Table, func, select
from sqlalchemy.dialects.postgresql import dialect

from audit.store import migrations, tables
from audit.store.postgresql import quoted
from audit.store.soundness import MAX_REPORTED, TABLE_GONE

VIEW = "signed_records"

_RELATIONS = """
SELECT c.oid::int8, c.relname::text, c.relkind::text, c.relpersistence::text,
       coalesce(m.amname::text, ''), c.relrowsecurity OR c.relforcerowsecurity,
       EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid),
       EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = c.oid),
       CASE WHEN c.relkind = 'v' AND c.relname = %s THEN pg_get_viewdef(c.oid) END,
       ARRAY(SELECT DISTINCT
                    CASE WHEN d.refclassid = 'pg_class'::regclass THEN d.refobjid::int8 ELSE 0 END
               FROM pg_rewrite r
               JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
              WHERE r.ev_class = c.oid AND r.rulename = '_RETURN'
                AND (d.refclassid <> 'pg_class'::regclass OR d.refobjid <> c.oid))
  FROM pg_class c LEFT JOIN pg_am m ON m.oid = c.relam
 WHERE c.relnamespace = to_regnamespace(%s) AND c.relname = ANY(%s)
"""

_FIRST_NORMAL_OID = 16_384
"""What came with the server has a lower one; nothing that is made later gets one."""

_COLUMNS = f"""
SELECT a.attrelid::int8, a.attname::text,
       CASE WHEN a.atttypid < {_FIRST_NORMAL_OID} THEN format_type(a.atttypid, a.atttypmod)
            ELSE 'foreign' END,
       a.attnotnull,
       CASE WHEN a.attcollation = 0 THEN ''
            WHEN n.oid < {_FIRST_NORMAL_OID} AND n.collnamespace = 'pg_catalog'::regnamespace
            THEN n.collname::text ELSE 'foreign' END,
       a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> ''
  FROM pg_attribute a LEFT JOIN pg_collation n ON n.oid = a.attcollation
 WHERE a.attrelid = ANY(%s::int8[]) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum
"""

_INDEXES = f"""
SELECT i.indrelid::int8, c.relname::text,
       i.indisvalid AND i.indisready AND i.indislive AND i.indexprs IS NULL AND m.amname = 'btree'
         AND i.indnatts = i.indnkeyatts AND c.relpersistence = 'p' AND c.relkind = 'i'
         AND NOT EXISTS (
           SELECT 1 FROM unnest(i.indclass::oid[], i.indcollation::oid[], i.indkey::int2[],
                                i.indoption::int2[]) k(class, coll, attnum, opt)
             JOIN pg_opclass o ON o.oid = k.class
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
            WHERE NOT o.opcdefault OR o.opcnamespace <> 'pg_catalog'::regnamespace
               OR o.oid >= {_FIRST_NORMAL_OID} OR k.coll <> a.attcollation OR k.opt <> 0),
       i.indisunique, i.indisprimary,
       ARRAY(SELECT a.attname::text
               FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
              ORDER BY k.place),
       coalesce(pg_get_expr(i.indpred, i.indrelid), '')
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_am m ON m.oid = c.relam
 WHERE i.indrelid = ANY(%s::int8[])
"""

_CONSTRAINTS = """
SELECT conrelid::int8, conname::text FROM pg_constraint
 WHERE conrelid = ANY(%s::int8[]) AND contype NOT IN ('p', 'n')
"""

_SIGNED_RECORDS = """
SELECT log, "index",
       CASE WHEN source ~~ '\\x250025'::bytea THEN encode(source, 'escape')
            ELSE convert_from(source, 'UTF8') END AS source,
       CASE WHEN event_id ~~ '\\x250025'::bytea THEN encode(event_id, 'escape')
            ELSE convert_from(event_id, 'UTF8') END AS event_id,
       NULLIF(encode(substr(signature, 1, 4), 'hex'), '') AS producer_key_id,
       substr(signature, 5) AS producer_signature,
       (SELECT min(c.size) AS min FROM {schema}.checkpoints c
         WHERE c.log = entries.log AND c.size > entries."index") AS checkpoint_size
  FROM {schema}.entries WHERE kind <> 2
"""
"""As `tables.SIGNED_RECORDS`. A text with U+0000, which no text column holds, comes escaped."""


class _Column(NamedTuple):
    name: str
    type: str
    not_null: bool
    collation: str
    filled: bool


class _Index(NamedTuple):
    plain: bool
    unique: bool
    primary: bool
    columns: tuple[str, ...]
    predicate: tuple[str, ...]


class _Relation(NamedTuple):
    oid: int
    name: str
    kind: str
    persistence: str
    method: str
    hides_rows: bool
    has_children: bool
    has_parents: bool
    view: str | None
    sources: list[int]
    """Oids of what a view reads; 0 for anything but a relation: a function, say."""

    @property
    def is_table(self) -> bool:
        return self.kind == "r"


def signed_records(schema: str) -> str:
    """The statement that makes the view."""
    name = quoted(schema)
    return f"CREATE VIEW {name}.{VIEW} AS {_SIGNED_RECORDS.format(schema=name)}"


for _index in tables.partial_indexes():
    _index.dialect_options["postgresql"]["where"] = _index.dialect_options["sqlite"]["where"]


def indexes_of(table: Table) -> list[Index]:
    """The indexes that a table has here, without that of its primary key."""
    return [index for index in table.indexes if index.info != tables.SQLITE_ONLY]


def predicate_of(index: Index) -> str:
    """The predicate of a partial index; empty when it is of all rows."""
    where = index.dialect_options["postgresql"]["where"]
    return "" if where is None else str(where)


def primary_key_of(table: Table) -> str:
    """The name of the index of a table's primary key."""
    return f"{table.name}_pkey"


def schema_faults(connection: Connection, schema: str) -> list[str]:
    """In what the schema is not the one that the migrations make; empty when it is. Cheap."""
    names = [*tables.metadata.tables, VIEW]
    rows = connection.exec_driver_sql(_RELATIONS, (VIEW, quoted(schema), names))
    found = {row[1]: _Relation(*row) for row in rows}
    versions = found.get("schema_versions")
    if versions is None or not versions.is_table:
        return [f"{TABLE_GONE}schema_versions"]
    newest = connection.execute(select(func.max(tables.schema_versions.c.version))).scalar()
    version = min(int(newest or 0), len(migrations.STEPS))
    expected = [t for t in tables.metadata.sorted_tables if t.info.get(tables.SINCE, 1) <= version]
    gone = [t.name for t in expected if t.name not in found or not found[t.name].is_table]
    faults = [f"{TABLE_GONE}{name}" for name in gone]
    faults += _view_faults(found, schema)
    present = {found[t.name].oid: t for t in expected if t.name not in gone}
    for table in present.values():
        faults += _relation_faults(found[table.name])
    oids = list(present)
    faults += _column_faults(present, connection.exec_driver_sql(_COLUMNS, (oids,)).all())
    faults += _index_faults(present, connection.exec_driver_sql(_INDEXES, (oids,)).all())
    faults += [
        f"the table {present[oid].name} has a constraint {name} that is not of a ledger"
        for oid, name in connection.exec_driver_sql(_CONSTRAINTS, (oids,))
    ]
    return faults[:MAX_REPORTED]


def _view_faults(found: dict[str, _Relation], schema: str) -> list[str]:
    view = found.get(VIEW)
    if view is None:
        return [f"there is no view {VIEW}"]
    sources = {found[name].oid for name in ("entries", "checkpoints") if name in found}
    expected = _words(_SIGNED_RECORDS.format(schema=quoted(schema)))
    if view.view is None or _words(view.view) != expected or set(view.sources) != sources:
        return [f"the view {VIEW} is not as it was made"]
    return []


_WORD = re.compile(
    r"""('(?:[^']|'')*')  # a constant, to the letter
        (?:::(?:bytea|text|name|bigint|integer)\b)?  # and the cast that some versions print
      | "([a-z_][a-z0-9_]*)"  # a name whose quotes do not matter
      | ("(?:[^"]|"")*")
      | (\w+)
      | [\s();]+
      | (.)""",
    re.VERBOSE | re.DOTALL,
)


def _words(sql: str) -> list[str]:
    """The words of SQL, without what each version of PostgreSQL prints differently.

    That a column is of `entries` is left out; where a table is named, its schema never is.
    """
    words: list[str] = []
    for constant, plain, name, word, sign in _WORD.findall(sql):
        if found := constant or plain or name or word.lower() or sign:
            words.append(found)
    kept: list[str] = []
    skip = 0
    for at, word in enumerate(words):
        if skip:
            skip -= 1
        elif word == "entries" and words[at + 1 : at + 2] == ["."] and kept[-1:] != ["from"]:
            skip = 1
        else:
            kept.append(word)
    return kept


def _relation_faults(relation: _Relation) -> list[str]:
    name = relation.name
    faults = []
    if relation.hides_rows:
        faults.append(f"row-level security may hide rows of the table {name}")
    if relation.has_children:
        faults.append(f"another table adds its rows to the table {name}")
    if relation.has_parents or relation.persistence != "p" or relation.method != "heap":
        faults.append(f"the table {name} is not as it was made")
    return faults


def _column_faults(present: dict[int, Table], rows: Any) -> list[str]:
    found: dict[int, list[_Column]] = {oid: [] for oid in present}
    for oid, *column in rows:
        found[oid].append(_Column(*column))
    faults = []
    for oid, table in present.items():
        expected = {column.name: column for column in _expected_columns(table)}
        actual = {column.name: column for column in found[oid]}
        if expected != actual:
            odd = [n for n in {**expected, **actual} if expected.get(n) != actual.get(n)]
            text = f"the table {table.name} is not as it was made: column {odd[0]:.100}"
            faults.append(text)
    return faults


@cache
def _expected_columns(table: Table) -> list[_Column]:
    columns = []
    for column in table.columns:
        text, _, collation = column.type.compile(_DIALECT).partition(" COLLATE ")
        collation = collation.strip('"')
        columns.append(_Column(column.name, text.lower(), not column.nullable, collation, False))
    return columns


_DIALECT = dialect()  # type: ignore[no-untyped-call]


def _index_faults(present: dict[int, Table], rows: Any) -> list[str]:
    found: dict[int, dict[str, _Index]] = {oid: {} for oid in present}
    for oid, name, plain, unique, primary, columns, predicate in rows:
        shown = _Index(plain, unique, primary, tuple(columns), tuple(_words(predicate)))
        found[oid][name] = shown
    faults = []
    for oid, table in present.items():
        expected, actual = _expected_indexes(table), found[oid]
        for name in sorted({**expected, **actual}):
            if name not in actual:
                faults.append(f"there is no index {name}")
            elif name not in expected:
                faults.append(f"the index {name:.100} is not of a ledger")
            elif actual[name] != expected[name]:
                faults.append(f"the index {name} is not as it was made")
    return faults


@cache
def _expected_indexes(table: Table) -> dict[str, _Index]:
    key = tuple(column.name for column in table.primary_key.columns)
    expected = {primary_key_of(table): _Index(True, True, True, key, ())}
    for index in indexes_of(table):
        columns = tuple(column.name for column in index.columns)
        predicate = tuple(_words(predicate_of(index)))
        expected[str(index.name)] = _Index(True, bool(index.unique), False, columns, predicate)
    return expected
