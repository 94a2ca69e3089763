"""The triggers of PostgreSQL: what writes the outbox after each statement, from transition tables.

Old and new rows are joined on the key: a key that is only among the old was deleted, one only among
the new created. Statement triggers fire after those for rows, so what such a trigger changed in the
same table is recorded before the statement that caused it; and MERGE says what it inserted before
what it deleted. Whenever a table was captured twice in one statement of the client, the later call
therefore looks at the rows as they are now, and adds what corrects the record.
"""

from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from audit.capture.database.bodies_postgresql import COLUMNS, CONTEXT, DIGEST, Bodies
from audit.capture.database.captured import Captured
from audit.capture.database.catalog_postgresql import look_up, schema_of
from audit.capture.database.cells_postgresql import SETTINGS, helpers, image, key, settings
from audit.capture.database.cells_sqlite import quoted
from audit.capture.database.tables import OUTBOX
from audit.capture.database.trigger_state import Known

PREFIX = "attestory_"
VERSION = "v1"

_EVENTS = {"insert": 4, "delete": 8, "update": 16, "truncate": 32, "partition": 34}
"""`pg_trigger.tgtype` of each of our triggers: after (or before) the statement."""
_CLAUSES = {
    "insert": "AFTER INSERT ON {} REFERENCING NEW TABLE AS attestory_new",
    "delete": "AFTER DELETE ON {} REFERENCING OLD TABLE AS attestory_old",
    "update": "AFTER UPDATE ON {} REFERENCING OLD TABLE AS attestory_old "
    "NEW TABLE AS attestory_new",
    "truncate": "AFTER TRUNCATE ON {}",
    # A partition's own rows go; the dataset stays. Before, for afterwards they are not there.
    "partition": "BEFORE TRUNCATE ON {}",
}


class Plan(NamedTuple):
    """One table's functions (event -> name and body) and the tables that get their triggers."""

    known: Known
    schema: str
    functions: dict[str, tuple[str, str]]
    places: tuple[tuple[str, tuple[str, ...]], ...]
    """(quoted table, events)"""
    settings: tuple[str, ...]
    snapshot: str
    notes: tuple[str, ...]


def prepare(connection: Connection, schema: str | None) -> None:
    """Make the functions that the triggers call."""
    where = quoted(schema_of(connection, schema))
    for create in (*helpers(where).values(), CONTEXT.replace("SCHEMA", where)):
        _run(connection, create)
    _run(
        connection,
        f"REVOKE EXECUTE ON FUNCTION {where}.attestory_context_v1(), "
        f"{where}.attestory_json_v1(text), {where}.attestory_json_value_v1(jsonb), "
        f"{where}.attestory_nest_v1(text[], text) FROM PUBLIC",
    )


def lock(connection: Connection, captured: Captured) -> None:
    """Wait for those who write a table, and let nobody write it until this transaction ends."""
    _run(connection, f"LOCK TABLE {_name(connection, captured)} IN SHARE ROW EXCLUSIVE MODE")


def _name(connection: Connection, captured: Captured) -> str:
    return f"{quoted(schema_of(connection, captured.schema))}.{quoted(captured.table)}"


def plan(connection: Connection, captured: Captured) -> Plan:
    """What captures a table as it is now. Raises InvalidInput for one that cannot be captured."""
    found = look_up(connection, captured)
    where = quoted(found.schema)
    bodies = Bodies(captured, found).all()
    # No nested loops: a plan made for one row is kept, and would be used for 20,000. And no machine
    # code: a plan made for 20,000 would have some made each time that it is used for one.
    used = (*settings(found.kinds.values()), "enable_nestloop = off", "jit = off")
    told = "\0".join((found.schema, captured.table, *bodies.values(), *used))
    digest = sha256(told.encode()).hexdigest()[:12]
    functions = {
        kind: (f"{PREFIX}{kind}_{VERSION}_{digest}", body.replace(DIGEST, digest))
        for kind, body in bodies.items()
    }
    events = ("insert", "update", "delete")
    root = f"{where}.{quoted(captured.table)}"
    places = [(root, events if found.is_partitioned else (*events, "truncate"))]
    for part in found.parts:
        own = (*events, "partition") if part.is_leaf else events
        places.append((f"{quoted(part.schema)}.{quoted(part.name)}", own))
    row = Bodies(captured, found).row(
        "OP", key("o", captured, found.kinds), "NULL",
        image("o", captured, found.kinds, where), "full", "snapshot",
    )  # fmt: skip
    snapshot = (
        f"INSERT INTO {where}.{OUTBOX} ({COLUMNS}) SELECT {row} "
        f"FROM {root} AS o, {where}.attestory_context_v1() AS attestory_c"
    )
    parts = tuple(f"{part.schema}.{part.name}" for part in found.parts)
    return Plan(
        Known(captured, found.shown, parts), where, functions, tuple(places), used, snapshot, ()
    )


def create(connection: Connection, wanted: Plan) -> None:
    """Make a table's functions and triggers."""
    lines = "\n".join(f"SET {setting}" for setting in wanted.settings)
    for name, body in wanted.functions.values():
        tag = "$attestory$"
        while tag in body:
            tag = f"${tag.strip('$')}_$"
        _run(
            connection,
            f"CREATE OR REPLACE FUNCTION {wanted.schema}.{quoted(name)}() RETURNS trigger\n"
            f"LANGUAGE plpgsql SECURITY DEFINER\n{lines}\nAS {tag}{body}{tag}",
            f"REVOKE EXECUTE ON FUNCTION {wanted.schema}.{quoted(name)}() FROM PUBLIC",
        )
    for place, events in wanted.places:
        for event in events:
            name = quoted(wanted.functions[event][0])
            _run(
                connection,
                f"CREATE TRIGGER {name} {_CLAUSES[event].format(place)} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {wanted.schema}.{name}()",
                f"ALTER TABLE ONLY {place} ENABLE ALWAYS TRIGGER {name}",
            )


_PRESENT = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), t.tgname, t.tgenabled::text,
       t.tgtype,
       t.tgqual IS NULL AND t.tgfoid = to_regproc(:schema || '.' || quote_ident(t.tgname)),
       p.prosrc, p.prosecdef, c.relname
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid 
JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_proc p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND t.tgname LIKE 'attestory\\_%\\_v1\\_%'
"""
_ON_TABLE = """
AND (t.tgrelid IN (SELECT relid FROM pg_partition_tree(to_regclass(:name)) UNION ALL
                  SELECT to_regclass(:name)) OR t.tgname = ANY(:names))
"""


def findings(connection: Connection, wanted: Plan) -> list[str]:
    """How a table's triggers differ from what they should be, in words."""
    values: dict[str, Any] = {"schema": wanted.schema, "name": wanted.places[0][0]}
    values["names"] = [name for name, _ in wanted.functions.values()]
    there = {
        (row[0], row[1]): row[2:] for row in connection.execute(text(_PRESENT + _ON_TABLE), values)
    }
    found, expected = [], set()
    shown_name = _shown_names(connection, [place for place, _ in wanted.places])
    for place, events in wanted.places:
        for event in events:
            name, body = wanted.functions[event]
            told = shown_name[place]
            expected.add((told, name))
            row = there.get((told, name))
            if row is None:
                found.append(f"trigger {name} is missing on {told}")
            elif row[0] != "A":
                found.append(f"trigger {name} on {told} is not enabled always")
            elif row[1] != _EVENTS[event] or not row[2] or row[3] != body or not row[4]:
                found.append(f"trigger {name} on {told} was changed")
    found += [f"trigger {n} on {t} is of another state" for t, n in there.keys() - expected]
    for name in (*helpers(""), "attestory_context_v1"):
        query = text("SELECT to_regproc(:name) IS NULL")
        if connection.execute(query, {"name": f"{wanted.schema}.{name}"}).scalar():
            found.append(f"function {name} is missing")
    return sorted(found)


def _shown_names(connection: Connection, places: list[str]) -> dict[str, str]:
    """Names quoted as PostgreSQL quotes them: only where needed."""
    query = text(
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(:name)"
    )
    return {place: str(connection.execute(query, {"name": place}).scalar()) for place in places}


def drop(connection: Connection, known: Known) -> int:
    """Take our triggers off a table and its partitions, old ones too, with their functions."""
    where = quoted(schema_of(connection, known.captured.schema))
    name = f"{where}.{quoted(known.captured.table)}"
    values: dict[str, Any] = {"schema": where, "name": name, "names": []}
    found = list(connection.execute(text(_PRESENT + _ON_TABLE), values))
    # A partition that was detached has them still.
    values["names"] = functions = sorted({row[1] for row in found})
    found = list(connection.execute(text(_PRESENT + _ON_TABLE), values))
    for row in found:
        _run(connection, f"DROP TRIGGER {quoted(row[1])} ON {row[0]}")
    for function in functions:
        _run(connection, f"DROP FUNCTION IF EXISTS {where}.{quoted(function)}()")
    return len(found)


def take_in(connection: Connection, wanted: Plan, op: str) -> int:
    """Write all rows of a table to the outbox, inside the database; how many."""
    names = [setting.partition(" = ")[0] for setting in SETTINGS]
    before = connection.execute(
        text("SELECT n, current_setting(n) FROM unnest(CAST(:names AS text[])) AS n"),
        {"names": names},
    ).all()
    for setting in SETTINGS:
        _run(connection, f"SET LOCAL {setting}")
    rows = wanted.snapshot.replace("'OP'", f"'{op}'", 1)
    count = int(_execute(connection, rows).rowcount)
    put_back = text("SELECT set_config(:name, :value, true)")
    connection.execute(put_back, [{"name": name, "value": value} for name, value in before])
    return count


def triggered(connection: Connection, schema: str | None) -> frozenset[str]:
    """The names of the tables of a schema, or on the search path, that have our triggers."""
    query = (
        "SELECT DISTINCT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal "
        "AND t.tgname LIKE 'attestory\\_%\\_v1\\_%' AND t.tgenabled <> 'D' "
        # Of two tables with one name on the search path only the first is meant by it.
        "AND CASE WHEN :schema = '' THEN pg_table_is_visible(c.oid) ELSE n.nspname = :schema END"
    )
    return frozenset(row[0] for row in connection.execute(text(query), {"schema": schema or ""}))


def begin(connection: Connection) -> None:
    """Nothing: the tables are locked one by one (see `lock`)."""


def notes(connection: Connection) -> list[str]:
    """What whoever checks should know about this database."""
    return []


def _execute(connection: Connection, statement: str) -> Any:
    return connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _run(connection: Connection, *statements: str) -> None:
    for statement in statements:
        _execute(connection, statement)
