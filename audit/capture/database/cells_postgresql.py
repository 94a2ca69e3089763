"""The SQL of PostgreSQL that makes of a row what `cells` makes of it: its images and key, as text.

It runs under the settings of `SETTINGS`, on which the texts of times and floats depend.
"""

from collections.abc import Iterable
from typing import NamedTuple

from audit.capture.database.captured import Captured
from audit.capture.database.cells_sqlite import field_name, joined, literal, quoted

_PATH = "search_path = pg_catalog, pg_temp"
_TIMES = ("datestyle = 'ISO, YMD'", "timezone = 'UTC'", "intervalstyle = postgres")
_FLOATS = ("extra_float_digits = 1",)
SETTINGS = (_PATH, *_TIMES, *_FLOATS, "bytea_output = hex")
"""All on which the text of any type depends."""


class Kind(NamedTuple):
    """A column's type: its name in pg_catalog (of a domain: the type below), quoted in `shown`.

    `element`: of an array, its elements' kind. `is_exact`: equal values have the same text.
    """

    name: str
    shown: str
    element: "Kind | None"
    is_exact: bool


EXACT = frozenset(
    {
        *("bool", "int2", "int4", "int8", "oid", "text", "varchar", "bytea", "uuid", "date"),
        *("timestamp", "timestamptz", "time"),
    }
)
"""Types of which equal values look the same; of the others the texts are compared."""

_INDEXED = frozenset({"numeric", "float4", "float8", "bpchar", "interval", "inet", "cidr", "text"})
"""Others whose = is in pg_catalog, where alone we look."""
_INTEGERS = frozenset({"int2", "int4", "int8", "oid"})
_TEXTS = frozenset({"text", "varchar", "bpchar", "name", "char", "citext", "inet", "cidr"})


_PLAIN = frozenset(
    {
        *("bool", "int2", "int4", "int8", "oid", "numeric", "text", "varchar", "bpchar", "name"),
        *("bytea", "uuid", "json", "jsonb", "citext", "hstore", "inet", "cidr"),
    }
)
"""Types whose cells depend on no setting."""
_OF_TIME = frozenset({"date", "time", "timetz", "timestamp", "timestamptz", "interval"})
_OF_FLOATS = frozenset({"float4", "float8"})


def settings(kinds: Iterable[Kind]) -> tuple[str, ...]:
    """The settings that cells of these types need: each costs time in every statement."""
    names = {_innermost(kind).name for kind in kinds}
    found = [_PATH]
    if names & _OF_TIME:
        found += _TIMES
    if names & _OF_FLOATS:
        found += _FLOATS
    return SETTINGS if names - _PLAIN - _OF_TIME - _OF_FLOATS else tuple(found)


def _innermost(kind: Kind) -> Kind:
    return kind if kind.element is None else _innermost(kind.element)


def image(alias: str, captured: Captured, kinds: dict[str, Kind], schema: str) -> str:
    """SQL of the whole row as JSON text."""
    parts = [
        literal(("," if at else "{") + field_name(name))
        + f" || {cell(f'{alias}.{quoted(name)}', kinds[name], schema)}"
        for at, name in enumerate(captured.columns)
    ]
    return joined([*parts, "'}'"], "||")


def patch(
    alias: str, captured: Captured, kinds: dict[str, Kind], schema: str, sides: tuple[str, str]
) -> str:
    """SQL of the columns that differ between two sides, as JSON text of one of them."""
    parts = [
        f"CASE WHEN {differs(name, kinds[name], sides)} THEN {literal(',' + field_name(name))} || "
        f"{cell(f'{alias}.{quoted(name)}', kinds[name], schema)} ELSE '' END"
        for name in captured.columns
    ]
    return f"'{{' || substr({joined(parts, '||')}, 2) || '}}'"


def changed(captured: Captured, kinds: dict[str, Kind], sides: tuple[str, str]) -> str:
    """SQL of the condition that two sides differ in any column."""
    return joined([differs(name, kinds[name], sides) for name in captured.columns], "OR")


def differs(name: str, kind: Kind, sides: tuple[str, str]) -> str:
    """SQL of the condition that a column differs: by value, or by text where 1.0 equals 1.00."""
    one, other = (f"{side}.{quoted(name)}" for side in sides)
    if kind.is_exact:
        return f"{one} IS DISTINCT FROM {other}"
    return f'{one}::text COLLATE "C" IS DISTINCT FROM {other}::text COLLATE "C"'


def same_key(captured: Captured, kinds: dict[str, Kind], sides: tuple[str, str]) -> str:
    """SQL of the condition that two sides are of one key: as the event spells it."""
    found = []
    for name in captured.key:
        one, other = (f"{side}.{quoted(name)}" for side in sides)
        if kinds[name].is_exact:
            found.append(f"{one} = {other}")
        else:
            found.append(f'{_part(one, kinds[name])} COLLATE "C" = {_part(other, kinds[name])}')
    return "(" + " AND ".join(found) + ")"


def same_row(captured: Captured, kinds: dict[str, Kind], sides: tuple[str, str]) -> str:
    """The same, in a form that the table's index of its key can answer."""
    equal = [
        f"{sides[0]}.{quoted(name)} = {sides[1]}.{quoted(name)}"
        for name in captured.key
        if kinds[name].name in _INDEXED and not kinds[name].is_exact
    ]
    return "(" + " AND ".join([*equal, same_key(captured, kinds, sides)]) + ")"


def key(alias: str, captured: Captured, kinds: dict[str, Kind]) -> str:
    """SQL of the row's key as `audit.event.normal.key_text` writes it."""
    columns = [(f"{alias}.{quoted(name)}", kinds[name]) for name in captured.key]
    if len(columns) == 1:
        return _part(*columns[0])
    parts = [
        f"{column}::text" if kind.name in _INTEGERS else f"to_json({_part(column, kind)})::text"
        for column, kind in columns
    ]
    return "'[' || " + " || ',' || ".join(parts) + " || ']'"


def _part(column: str, kind: Kind) -> str:
    if kind.name == "bytea":
        return f"encode({column}, 'hex')"
    if kind.name in ("bpchar", "inet"):
        # A cast would drop the blanks, or add /32.
        return f"(to_json({column}) #>> '{{}}')"
    if kind.name == "timestamp":
        return f"(({_timestamp(column)})::json #>> '{{}}')"
    if kind.name == "timestamptz":
        return f"COALESCE(({_timestamptz(column)})::json ->> '$timestamp', {column}::text)"
    return f"{column}::text"


def cell(column: str, kind: Kind, schema: str) -> str:
    """SQL of one value as JSON text; never NULL. `schema`: where our functions are, quoted."""
    return f"COALESCE({_cell(column, kind, schema)}, 'null')"


def _cell(column: str, kind: Kind, schema: str) -> str:
    if kind.element is not None:
        return _array(column, kind.element, schema)
    if kind.name == "bool" or kind.name in _INTEGERS:
        return f"{column}::text"
    if kind.name == "numeric":
        return (
            f"CASE WHEN {column} IN ('NaN', 'Infinity', '-Infinity') "
            f'THEN \'{{"$double":"\' ELSE \'{{"$decimal":"\' END || {column}::text || \'"}}\''
        )
    if kind.name in ("float4", "float8"):
        return (
            f"CASE WHEN {column} IN ('NaN', 'Infinity', '-Infinity') "
            f"THEN '{{\"$double\":\"' || {column}::text || '\"}}' "
            f"WHEN {column}::text ~ '[.e]' THEN {column}::text ELSE {column}::text || '.0' END"
        )
    if kind.name == "bytea":
        return f"'{{\"$hex\":\"' || encode({column}, 'hex') || '\"}}'"
    if kind.name == "date":
        return (
            f"CASE WHEN {column} BETWEEN '0001-01-01' AND '9999-12-31' "
            f"THEN '{{\"$date\":\"' || to_char({column}, 'YYYY-MM-DD') || '\"}}' "
            f"ELSE to_json({column}::text)::text END"
        )
    if kind.name in ("timestamp", "timestamptz"):
        return _timestamp(column) if kind.name == "timestamp" else _timestamptz(column)
    if kind.name == "interval":
        # 24:00:00 is 1 day to PostgreSQL and to Python; months have no fixed length.
        return (
            f"CASE WHEN extract(year FROM {column}) = 0 AND extract(month FROM {column}) = 0 "
            f"THEN to_json(justify_hours({column})::text)::text "
            f"ELSE to_json({column}::text)::text END"
        )
    if kind.name in ("json", "jsonb", "hstore"):
        return f"{schema}.attestory_json_v1(to_json({column})::text)"
    if kind.name in _TEXTS:
        return f"to_json({column})::text"
    return f"to_json({column}::text)::text"


def _timestamp(column: str) -> str:
    return (
        f"CASE WHEN {column} >= '0001-01-01' AND {column} < '10000-01-01' "
        f"THEN '\"' || to_char({column}, 'YYYY-MM-DD\"T\"HH24:MI:SS') || CASE to_char({column}, "
        f"'US') WHEN '000000' THEN '' ELSE to_char({column}, '.US') END || '\"' "
        f"ELSE to_json({column}::text)::text END"
    )


def _timestamptz(column: str) -> str:
    return (
        f"CASE WHEN {column} >= '0001-01-01 00:00:00+00' AND {column} < '10000-01-01 00:00:00+00' "
        f'THEN \'{{"$timestamp":"\' || to_char({column}, \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\') '
        f"|| '\"}}' ELSE to_json({column}::text)::text END"
    )


def _array(column: str, element: Kind, schema: str) -> str:
    """Elements in their order; one with several dimensions is nested again from the flat list."""
    flat = f"array_agg({cell('u.e', element, schema)} ORDER BY u.n)"
    return (
        f"CASE WHEN {column} IS NULL THEN NULL ELSE (SELECT {schema}.attestory_nest_v1({flat}, "
        f"array_dims({column}::text[])) FROM unnest({column}) WITH ORDINALITY AS u(e, n)) END"
    )


def helpers(schema: str) -> dict[str, str]:
    """The functions that cells and triggers call: name -> its CREATE; `schema` is quoted."""
    return {
        "attestory_json_v1": _JSON.replace("SCHEMA", schema),
        "attestory_json_value_v1": _JSON_VALUE.replace("SCHEMA", schema),
        "attestory_nest_v1": _NEST.replace("SCHEMA", schema),
    }


_JSON = """CREATE OR REPLACE FUNCTION SCHEMA.attestory_json_v1(document text) RETURNS text
LANGUAGE plpgsql STRICT IMMUTABLE SET search_path = pg_catalog, pg_temp AS $attestory$
DECLARE found text;
BEGIN
    -- A json column keeps what jsonb refuses, as \\u0000 is: then the text itself is recorded.
    IF strpos(document, '\\u') = 0 THEN
        found := document::jsonb::text;
    ELSE
        BEGIN
            found := document::jsonb::text;
        EXCEPTION WHEN OTHERS THEN
            RETURN to_json(document)::text;
        END;
    END IF;
    IF found !~ '"\\$|[0-9]{16}' THEN
        RETURN found;
    END IF;
    RETURN SCHEMA.attestory_json_value_v1(found::jsonb);
END $attestory$"""

_JSON_VALUE = """CREATE OR REPLACE FUNCTION SCHEMA.attestory_json_value_v1(value jsonb)
RETURNS text LANGUAGE plpgsql STRICT IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $attestory$
DECLARE written text := value #>> '{}';
BEGIN
    CASE jsonb_typeof(value)
    WHEN 'object' THEN
        RETURN (SELECT '{' || COALESCE(string_agg(
            to_json(CASE WHEN e.key LIKE '$%' THEN '$' ELSE '' END || e.key)::text || ':'
            || SCHEMA.attestory_json_value_v1(e.value), ','), '') || '}'
            FROM jsonb_each(value) AS e);
    WHEN 'array' THEN
        RETURN (SELECT '[' || COALESCE(string_agg(
            SCHEMA.attestory_json_value_v1(e.value), ',' ORDER BY e.n), '') || ']'
            FROM jsonb_array_elements(value) WITH ORDINALITY AS e(value, n));
    WHEN 'number' THEN
        IF written !~ '[.]' AND written::numeric
            BETWEEN -9223372036854775808 AND 9223372036854775807 THEN
            RETURN written;
        ELSIF written ~ '[.]' AND abs(written::numeric) < 1e308 AND length(written) < 1000 THEN
            RETURN written;
        END IF;
        RETURN '{"$decimal":"' || written || '"}';
    ELSE
        RETURN value::text;
    END CASE;
END $attestory$"""

_NEST = """CREATE OR REPLACE FUNCTION SCHEMA.attestory_nest_v1(cells text[], dims text)
RETURNS text LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $attestory$
DECLARE
    sizes int[];
    size int;
BEGIN
    IF cells IS NULL THEN
        RETURN '[]';
    END IF;
    SELECT array_agg(m[2]::int - m[1]::int + 1 ORDER BY n) INTO sizes
        FROM regexp_matches(dims, '\\[(-?\\d+):(-?\\d+)\\]', 'g') WITH ORDINALITY AS r(m, n);
    FOR at IN REVERSE array_length(sizes, 1)..2 LOOP
        size := sizes[at];
        cells := (SELECT array_agg(part ORDER BY which) FROM (
            SELECT (n - 1) / size AS which, '[' || string_agg(c, ',' ORDER BY n) || ']' AS part
            FROM unnest(cells) WITH ORDINALITY AS u(c, n) GROUP BY 1) AS parts);
    END LOOP;
    RETURN '[' || array_to_string(cells, ',') || ']';
END $attestory$"""
