"""The SQL of SQLite that makes of a row what `cells` makes of it: its images and its key, as text.

Any cell of SQLite may hold any type whatever its column declares, so each asks `typeof`.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import JSON, Boolean, Date, DateTime, Float, Numeric, Time

from audit.capture.database.captured import Captured

_DIGITS = {name: "[0-9]" * count for name, count in (("2", 2), ("4", 4))}
_V = "attestory_v"
"""Columns as rows: their names and values."""
_COLUMNS_IN_BLOCK = 200
"""SQLite takes at most 500 SELECTs in a UNION."""
_DAY = f"{_DIGITS['4']}-{_DIGITS['2']}-{_DIGITS['2']}"
_CLOCK = f"{_DIGITS['2']}:{_DIGITS['2']}:{_DIGITS['2']}"


def quoted(name: str) -> str:
    """A name in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in single quotes."""
    return "'" + text.replace("'", "''") + "'"


def joined(parts: Iterable[str], operator: str) -> str:
    """The parts with an operator between them, as a balanced tree: SQLite limits the depth."""
    found = list(parts)
    while len(found) > 1:
        pairs = [found[at : at + 2] for at in range(0, len(found), 2)]
        found = [f"({each[0]} {operator} {each[1]})" if each[1:] else each[0] for each in pairs]
    return found[0]


def field_name(name: str) -> str:
    """A column's name as a JSON text and a colon: a leading $ is doubled."""
    return json.dumps("$" + name if name.startswith("$") else name, ensure_ascii=False) + ":"


def image(alias: str, captured: Captured, types: Mapping[str, Any]) -> str:
    """SQL of the whole row as JSON; `alias` is NEW, OLD or a table's name."""
    parts = [
        literal(("," if at else "{") + field_name(name)) + " || " + cell(alias, name, types[name])
        for at, name in enumerate(captured.columns)
    ]
    return joined([*parts, "'}'"], "||")


def short_image(alias: str, captured: Captured, types: Mapping[str, Any]) -> str:
    """The same in SQL that names each column once: shorter where it seldom runs."""
    parts = [
        f"SELECT {_V}.name || {cell(_V, 'old', types[names[0]])} AS told "
        f"FROM {_rows(names, old=alias)}"
        for names in _alike(captured, types)
    ]
    return f"(SELECT {_object('told')} FROM ({' UNION ALL '.join(parts)}))"


def patches(captured: Captured, types: Mapping[str, Any]) -> str:
    """A SELECT of what an update changes, as JSON: `before` and `after`; null for nothing.

    Columns of one type share the SQL of their cells, and each is named once for OLD and NEW. SQLite
    looks through every trigger when a column is dropped anywhere, in a time that grows with the
    square of the names in it.
    """
    parts = []
    for names in _alike(captured, types):
        kind = types[names[0]]
        old, new = (f"{_V}.name || {cell(_V, side, kind)}" for side in ("old", "new"))
        differs = f"{_V}.old IS NOT {_V}.new"
        if _is_untyped(kind):
            differs += f" OR typeof({_V}.old) IS NOT typeof({_V}.new)"
        parts.append(
            f"SELECT {old} AS told, {new} AS made FROM {_rows(names, old='OLD', new='NEW')} "
            f"WHERE {differs}"
        )
    return (
        f"SELECT {_object('told')} AS before, {_object('made')} AS after "
        f"FROM ({' UNION ALL '.join(parts)})"
    )


def _alike(captured: Captured, types: Mapping[str, Any]) -> list[list[str]]:
    """The columns in blocks of those whose cells are made, and compared, alike."""
    found: dict[tuple[str, bool], list[str]] = {}
    for name in captured.columns:
        made = cell(_V, "old", types[name]), _is_untyped(types[name])
        found.setdefault(made, []).append(name)
    return [
        names[at : at + _COLUMNS_IN_BLOCK]
        for names in found.values()
        for at in range(0, len(names), _COLUMNS_IN_BLOCK)
    ]


def _rows(names: Iterable[str], **sides: str) -> str:
    """Columns as rows: the JSON name, and the value on each side."""
    selects = []
    for name in names:
        values = (f"{alias}.{quoted(name)} AS {side}" for side, alias in sides.items())
        selects.append(f"SELECT {literal(',' + field_name(name))} AS name, {', '.join(values)}")
    return f"({' UNION ALL '.join(selects)}) AS {_V}"


def _object(fields: str) -> str:
    return f"'{{' || substr(group_concat({fields}, ''), 2) || '}}'"


def changed(name: str, kind: Any) -> str:
    """SQL of the condition that an update changes a column, by its bytes, not by a collation."""
    old, new = f"OLD.{quoted(name)}", f"NEW.{quoted(name)}"
    differs = f"{old} IS NOT {new} COLLATE BINARY"
    # 1 is 1.0 to SQLite. Where a column has an affinity, one of them cannot be there.
    return f"({differs} OR typeof({old}) IS NOT typeof({new}))" if _is_untyped(kind) else differs


def _is_untyped(kind: Any) -> bool:
    return type(kind).__name__ in ("NullType", "BLOB")


def key(alias: str, captured: Captured, types: Mapping[str, Any]) -> str:
    """SQL of the row's key as `audit.event.normal.key_text` writes it."""
    if len(captured.key) == 1:
        name = captured.key[0]
        return f"COALESCE({_key_text(alias, name, types[name])}, '[null]')"
    parts = []
    for name in captured.key:
        column = f"{alias}.{quoted(name)}"
        parts.append(
            f"CASE WHEN typeof({column}) = 'integer' AND {_is_plain(types[name])} THEN {column} "
            f"ELSE json_quote({_key_text(alias, name, types[name])}) END"
        )
    return "'[' || " + " || ',' || ".join(parts) + " || ']'"


def _is_plain(kind: Any) -> str:
    is_typed = isinstance(kind, Boolean) or (
        isinstance(kind, Numeric) and not isinstance(kind, Float)
    )
    return "0" if is_typed else "1"


def _key_text(alias: str, name: str, kind: Any) -> str:
    column = f"{alias}.{quoted(name)}"
    if isinstance(kind, Numeric) and not isinstance(kind, Float):
        text = _decimal_text(column, kind)
    elif isinstance(kind, Boolean):
        text = f"CASE {column} WHEN 0 THEN 'false' WHEN 1 THEN 'true' ELSE {column} END"
    elif isinstance(kind, DateTime | Time):
        made = cell(alias, name, kind)
        text = (
            f"COALESCE(json_extract({made}, '$.\"$timestamp\"'), json_extract({made}, '$'))"
            if isinstance(kind, DateTime)
            else f"json_extract({made}, '$')"
        )
    else:
        text = f"CAST({column} AS TEXT)"
    return (
        f"CASE typeof({column}) WHEN 'text' THEN {_text_key(column, text, kind)} "
        f"WHEN 'blob' THEN lower(hex({column})) WHEN 'null' THEN NULL ELSE {text} END"
    )


def _text_key(column: str, text: str, kind: Any) -> str:
    return text if isinstance(kind, DateTime | Time) else column


def cell(alias: str, name: str, kind: Any) -> str:
    """SQL of one column as JSON text; never NULL. `kind`: the type as SQLAlchemy reflects it."""
    column = f"{alias}.{quoted(name)}"
    integer, real, text = column, _double(column), f"json_quote({column})"
    if isinstance(kind, Boolean):
        integer = f"CASE {column} WHEN 0 THEN 'false' WHEN 1 THEN 'true' ELSE {column} END"
    elif isinstance(kind, Float):
        pass
    elif isinstance(kind, Numeric):
        integer = real = f"'{{\"$decimal\":\"' || {_decimal_text(column, kind)} || '\"}}'"
        real = f"CASE WHEN abs({column}) < 9e999 THEN {real} ELSE {_double(column)} END"
    elif isinstance(kind, Date):
        text = _date(column)
    elif isinstance(kind, DateTime):
        text = _datetime(column)
    elif isinstance(kind, Time):
        text = _time(column)
    elif isinstance(kind, JSON):
        text = _json(column)
    return (
        f"CASE typeof({column}) WHEN 'text' THEN {text} WHEN 'integer' THEN {integer} "
        f"WHEN 'real' THEN {real} WHEN 'null' THEN 'null' "
        f"ELSE '{{\"$hex\":\"' || lower(hex({column})) || '\"}}' END"
    )


def _double(column: str) -> str:
    # 17 digits would do if SQLite rounded the last one right; with 20 none of them is off.
    return (
        f'CASE WHEN {column} = 9e999 THEN \'{{"$double":"Infinity"}}\' '
        f'WHEN {column} = -9e999 THEN \'{{"$double":"-Infinity"}}\' '
        f"ELSE printf('%!.20g', {column}) END"
    )


def _decimal_text(column: str, kind: Any) -> str:
    if kind.scale is not None:
        # Zero has no sign: -0.001 with two digits would be -0.00.
        made = f"printf('%.{int(kind.scale)}f', {column})"
        zero = "0" if not kind.scale else "0." + "0" * int(kind.scale)
        return f"CASE {made} WHEN '-{zero}' THEN '{zero}' ELSE {made} END"
    short, long = (f"printf('%!.{digits}g', {column})" for digits in (15, 17))
    return (
        f"CASE WHEN typeof({column}) = 'integer' THEN {column} "
        f"WHEN CAST({short} AS REAL) = {column} THEN {short} ELSE {long} END"
    )


def _date(column: str) -> str:
    return (
        f"CASE WHEN {column} GLOB '{_DAY}' AND date({column}) IS {column} AND {column} >= '0001' "
        f"THEN '{{\"$date\":\"' || {column} || '\"}}' ELSE json_quote({column}) END"
    )


def _datetime(column: str) -> str:
    """Text as ISO 8601, with six digits of a fraction that is not 0; an instant if it has a zone.

    SQLAlchemy reads any of the forms; what is none of them stays the text that it is.
    """
    day, clock = f"substr({column}, 1, 10)", f"substr({column}, 12, 8)"
    digits = (
        f"CASE WHEN length({column}) BETWEEN 21 AND 26 AND substr({column}, 20, 1) = '.' "
        f"AND NOT substr({column}, 21) GLOB '*[^0-9]*' "
        f"THEN substr(substr({column}, 21) || '00000', 1, 6) "
        f"WHEN length({column}) = 19 THEN '000000' END"
    )
    return (
        f"CASE WHEN NOT {column} GLOB '{_DAY}*' OR date({day}) IS NOT {day} OR {column} < '0001' "
        f"THEN json_quote({column}) WHEN length({column}) = 10 THEN json_quote({day} || "
        f"'T00:00:00') WHEN substr({column}, 11, 9) GLOB '[ T]{_CLOCK}' "
        f"AND time({clock}) IS {clock} AND ({digits}) IS NOT NULL "
        f"THEN json_quote({day} || 'T' || {clock} || "
        f"CASE {digits} WHEN '000000' THEN '' ELSE '.' || ({digits}) END) "
        f"WHEN substr({column}, 11) GLOB '[ T]{_CLOCK}[Z+-]*' "
        f"AND strftime('%Y', {column}) BETWEEN '0001' AND '9999' "
        f"AND (length({column}) = 20 OR (length({column}) = 25 AND "
        f"substr({column}, 20) GLOB '[+-]{_DIGITS['2']}:{_DIGITS['2']}')) "
        f"THEN '{{\"$timestamp\":\"' || strftime('%Y-%m-%dT%H:%M:%S', {column}) || "
        f"'.000000Z\"}}' ELSE json_quote({column}) END"
    )


def _time(column: str) -> str:
    return (
        f"CASE WHEN {column} GLOB '{_CLOCK}.*' AND NOT substr({column}, 10) GLOB '*[^0-9]*' "
        f"THEN json_quote(rtrim(rtrim({column}, '0'), '.')) ELSE json_quote({column}) END"
    )


def _json(column: str) -> str:
    """The document itself. Names that begin with $ are escaped, repeated ones are read as last.

    One with too large a number, or with a NUL beside such a name, is kept as its text.
    """
    has_huge = (
        f"EXISTS (SELECT 1 FROM json_tree({column}) WHERE (type = 'integer' AND "
        "typeof(atom) <> 'integer') OR (type = 'real' AND abs(atom) = 9e999))"
    )
    repeats = (
        f"EXISTS (SELECT 1 FROM json_tree({column}) WHERE typeof(key) = 'text' "
        "GROUP BY parent, key HAVING count(*) > 1)"
    )
    # What is built anew is read through json_tree, whose texts end at a NUL.
    return (
        f"CASE WHEN NOT json_valid({column}) OR {has_huge} THEN json_quote({column}) "
        f"WHEN instr({column}, '\"$') = 0 AND instr({column}, '\\u0024') = 0 AND NOT {repeats} "
        f"THEN json({column}) WHEN instr({column}, '\\u0000') THEN json_quote({column}) "
        f"ELSE {_rebuilt(column)} END"
    )


def _rebuilt(column: str) -> str:
    """The document written anew, node by node: each opens in its place, closes after its last."""
    name = "CASE WHEN substr(n.key, 1, 1) = '$' THEN '$' ELSE '' END || n.key"
    return (
        "(WITH RECURSIVE n AS MATERIALIZED (SELECT id, parent, key, type, atom FROM "
        f"json_tree({column})), k(id) AS (SELECT id FROM n WHERE parent IS NULL UNION ALL "
        "SELECT n.id FROM k JOIN n ON n.parent = k.id WHERE NOT EXISTS (SELECT 1 FROM n AS later "
        "WHERE later.parent = n.parent AND typeof(n.key) = 'text' AND later.key = n.key "
        "AND later.id > n.id)), d(above, id) AS (SELECT id, id FROM k UNION ALL "
        "SELECT n.parent, d.id FROM d JOIN n ON n.id = d.above WHERE n.parent IS NOT NULL), "
        "t(place, side, own, piece) AS (SELECT n.id, 0, 0, CASE WHEN n.parent IS NULL OR n.id = "
        "(SELECT min(s.id) FROM n AS s JOIN k USING (id) WHERE s.parent = n.parent) THEN '' "
        f"ELSE ',' END || CASE WHEN typeof(n.key) = 'text' THEN json_quote({name}) || ':' "
        "ELSE '' END || CASE n.type WHEN 'object' THEN '{' WHEN 'array' THEN '[' "
        "WHEN 'text' THEN json_quote(n.atom) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' "
        "WHEN 'null' THEN 'null' WHEN 'real' THEN printf('%!.20g', n.atom) ELSE n.atom END "
        "FROM n JOIN k USING (id) UNION ALL SELECT (SELECT max(d.id) FROM d WHERE d.above = n.id), "
        "1, -n.id, CASE n.type WHEN 'object' THEN '}' ELSE ']' END FROM n JOIN k USING (id) "
        "WHERE n.type IN ('object', 'array')) SELECT group_concat(piece, '') FROM "
        "(SELECT piece FROM t ORDER BY place, side, own))"
    )
