"""What PostgreSQL's catalog says of a table to be captured: its types and its partitions."""

from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from audit.capture.database.captured import Captured
from audit.capture.database.cells_postgresql import EXACT, Kind
from audit.errors import InvalidInput

_TABLE = """
SELECT c.oid, c.relkind, c.relispartition,
       c.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls
           AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE')),
       EXISTS (SELECT 1 FROM pg_inherits i WHERE c.oid IN (i.inhparent, i.inhrelid))
FROM pg_class c JOIN pg_roles r ON r.rolname = current_user
WHERE c.relname = :name AND c.relnamespace = to_regnamespace(quote_ident(:schema))
"""
_PARTS = """
SELECT n.nspname, c.relname, t.isleaf FROM pg_partition_tree(CAST(:oid AS oid)::regclass) t
JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE t.level > 0 ORDER BY 1, 2
"""
_COLUMNS = """
SELECT a.attname, a.atttypid, format_type(a.atttypid, a.atttypmod),
       COALESCE(l.collisdeterministic, true)
FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE a.attrelid = CAST(:oid AS oid) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_ENTANGLED = """
WITH RECURSIVE follows AS (
    SELECT conrelid FROM pg_constraint
    WHERE contype = 'f' AND confrelid = CAST(:oid AS oid) AND confupdtype IN ('c', 'n', 'd')
    UNION SELECT c.conrelid FROM pg_constraint c JOIN follows f ON c.confrelid = f.conrelid
    WHERE c.contype = 'f' AND c.confupdtype IN ('c', 'n', 'd'))
SELECT EXISTS (SELECT 1 FROM follows WHERE conrelid = CAST(:oid AS oid)) OR 1 < (
    SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = CAST(:oid AS oid)
    AND (confupdtype IN ('c', 'n', 'd') OR confdeltype IN ('n', 'd')))
"""
_TYPES = """
SELECT t.oid, t.typname, n.nspname, t.typtype, t.typbasetype,
       CASE WHEN t.typcategory = 'A' AND t.typlen = -1 THEN t.typelem ELSE 0 END
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
"""
_EXTENSIONS = frozenset({"citext", "hstore"})
_MAX_DEPTH = 32
"""Domains over domains over arrays."""


class Part(NamedTuple):
    """A partition; only a leaf holds rows."""

    schema: str
    name: str
    is_leaf: bool


class Found(NamedTuple):
    """A table as the catalog has it; `schema`: where it really is.

    `is_entangled`: foreign keys may make one statement update a row several times.
    """

    schema: str
    oid: int
    kinds: dict[str, Kind]
    shown: dict[str, str]
    parts: tuple[Part, ...]
    is_partitioned: bool
    is_entangled: bool


def schema_of(connection: Connection, schema: str | None) -> str:
    """The name of the schema. Raises InvalidInput when the search path leads to none."""
    if schema:
        return schema
    found = connection.execute(text("SELECT current_schema()")).scalar()
    if found is None:
        raise InvalidInput("the search path of this connection leads to no schema: name one")
    return str(found)


def look_up(connection: Connection, captured: Captured) -> Found:
    """What the catalog says. Raises InvalidInput for a table that cannot be captured whole."""
    schema = schema_of(connection, captured.schema)
    name = captured.table[:64]
    values: dict[str, Any] = {"name": captured.table, "schema": schema}
    row = connection.execute(text(_TABLE), values).first()
    if row is None or row[1] not in ("r", "p"):
        raise InvalidInput(f"{name!r} is no table of the schema {schema[:64]!r}")
    oid, kind, is_part, hidden, inherits = row
    if is_part:
        raise InvalidInput(f"{name!r} is a partition: capture the table that it is of")
    if inherits and kind != "p":
        raise InvalidInput(
            f"{name!r} inherits, or is inherited from: a statement on the one changes rows of the "
            "other unseen; exclude both"
        )
    if hidden:
        raise InvalidInput(
            f"row security hides rows of {name!r} from this role: install as its owner, or as a "
            "role with BYPASSRLS"
        )
    parts = tuple(Part(*each) for each in connection.execute(text(_PARTS), {"oid": oid}))
    types = {each[0]: each[1:] for each in connection.execute(text(_TYPES))}
    kinds, shown = {}, {}
    for column, type_oid, told, deterministic in connection.execute(text(_COLUMNS), {"oid": oid}):
        kinds[column] = _kind(types, type_oid, told, deterministic, 0)
        shown[column] = told
    entangled = bool(connection.execute(text(_ENTANGLED), {"oid": oid}).scalar_one())
    return Found(schema, oid, kinds, shown, parts, kind == "p", entangled)


def _kind(types: dict[int, Any], oid: int, told: str, deterministic: bool, depth: int) -> Kind:
    name, schema, variant, base, element = types.get(oid, ("", "", "", 0, 0))
    if variant == "d" and depth < _MAX_DEPTH:
        return _kind(types, base, told, deterministic, depth + 1)
    if element and depth < _MAX_DEPTH:
        return Kind("", told, _kind(types, element, told, deterministic, depth + 1), False)
    if schema != "pg_catalog" and name not in _EXTENSIONS:
        # Whatever it is called, it is none of the types that we know.
        name = ""
    # Of a numeric with a scale of its own no two equal values look different.
    is_scaled = name == "numeric" and told.startswith("numeric(")
    return Kind(name, told, None, is_scaled or (name in EXACT and deterministic))
