"""Attacks that only a database server has: each with what the verifier says of it.

The ledger is the one of test_attacks.py. The attacker is a superuser; what he left is what counts.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import event

from audit.errors import StoreCorrupt
from audit.store import open_reader, open_store
from audit.verify.findings import Verdict
from audit.verify.verifier import verify
from tests.backends import user_url
from tests.verify.conftest import (
    POLICY,
    SIGNER,
    Ledger,
    codes,
    first,
    in_schema,
    message,
)

GUARD = "entries_append_only"


@pytest.fixture
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    """An untouched copy, guards included."""
    return in_schema(request.getfixturevalue("ledger_schema"), request, tmp_path)


def warned(ledger: Ledger) -> set[str]:
    """The codes of the warnings, but for the one that the untouched ledger has."""
    return {warning.code for warning in ledger.verify().warnings} - {"event_id_conflict"}


def run(ledger: Ledger, statements: Sequence[str]) -> None:
    """Run each statement as the superuser."""
    for statement in statements:
        ledger.attacker.sql(statement)


def test_an_untouched_copy_is_ok(ledger: Ledger) -> None:
    report = ledger.verify()
    assert report.verdict is Verdict.OK and report.findings == ()
    assert warned(ledger) == set()


# Edits behind the guards, which are put back afterwards


@pytest.mark.parametrize(
    ("edit", "code", "index"),
    [
        ("UPDATE entries SET leaf = leaf || '\\x00'::bytea WHERE \"index\" = 200", None, 200),
        ('DELETE FROM entries WHERE "index" = 200', "missing_entry", 200),
        ('UPDATE entries SET entity_key = NULL WHERE "index" = 200', "column_differs", 200),
        ("TRUNCATE tiles", "tile_missing", 0),
        ("TRUNCATE entries", "truncated", 0),
        ("DELETE FROM checkpoints WHERE size = 536", "uncovered_tail", 535),
    ],
)
def test_what_a_superuser_edits_with_the_guards_switched_off_for_a_moment(
    ledger: Ledger, edit: str, code: str | None, index: int
) -> None:
    with ledger.backend.unguarded():
        ledger.attacker.sql(edit)
    report = ledger.verify()
    assert report.verdict is Verdict.TAMPERED
    assert warned(ledger) == set()
    code = code or "entry_malformed"
    assert first(report, code) == index


def test_everything_truncated(ledger: Ledger) -> None:
    kept = ledger.attacker.note(536)
    with ledger.backend.unguarded():
        ledger.attacker.sql("TRUNCATE entries, tiles, checkpoints, logs")
    report = ledger.verify()
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"empty"}
    report = ledger.verify([kept])
    assert report.verdict is Verdict.TAMPERED and "log_missing" in codes(report)


def test_a_superuser_who_calls_himself_a_replica_is_refused_by_the_guards(ledger: Ledger) -> None:
    ledger.attacker.sql("SET session_replication_role = replica")
    for edit in ("TRUNCATE entries", "DELETE FROM tiles", "UPDATE logs SET vkey = ''"):
        with pytest.raises(ledger.backend.refusal, match="append-only"):
            ledger.attacker.sql(edit)
    assert ledger.verify().verdict is Verdict.OK


def test_a_replica_past_a_guard_that_is_no_longer_always_enabled(ledger: Ledger) -> None:
    run(
        ledger,
        [
            f"ALTER TABLE entries ENABLE TRIGGER {GUARD}",
            "SET session_replication_role = replica",
            'DELETE FROM entries WHERE "index" = 200',
        ],
    )
    report = ledger.verify()
    assert report.verdict is Verdict.TAMPERED and first(report, "missing_entry") == 200
    assert warned(ledger) == {"guard_changed"}


# What acts on writes: warnings, for no entry is different yet


@pytest.mark.parametrize(
    ("statements", "code"),
    [
        ([f"ALTER TABLE entries DISABLE TRIGGER {GUARD}"], "guard_changed"),
        ([f"DROP TRIGGER {GUARD} ON entries"], "guard_missing"),
        (
            [
                "CREATE OR REPLACE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql "
                "AS 'BEGIN RETURN NULL; END'"
            ],
            "guard_changed",
        ),
        (["CREATE RULE mine AS ON DELETE TO entries DO INSTEAD NOTHING"], "guard_unknown"),
        (["CREATE RULE mine AS ON INSERT TO checkpoints DO INSTEAD NOTHING"], "guard_unknown"),
        (["GRANT DELETE ON entries TO PUBLIC"], "guard_open"),
    ],
)
def test_guards_that_are_not_as_they_were(ledger: Ledger, statements: list[str], code: str) -> None:
    run(ledger, statements)
    assert ledger.verify().verdict is Verdict.OK
    assert warned(ledger) == {code}


def test_a_rule_that_swallows_checkpoints_stops_the_append(ledger: Ledger) -> None:
    ledger.attacker.sql("CREATE RULE mine AS ON INSERT TO checkpoints DO INSTEAD NOTHING")
    with (
        open_store(ledger.url) as store,
        pytest.raises(StoreCorrupt, match="stored 0 of 1 checkpoints"),
    ):
        store.append(0, [message(20_000)], SIGNER)
    assert ledger.verify().verdict is Verdict.OK
    assert warned(ledger) == {"guard_unknown"}


# What acts on reads: the schema itself lies

CHILD = "CREATE TABLE child () INHERITS (entries)"
FORGED = 'INSERT INTO child SELECT * FROM ONLY entries WHERE log = 0 AND "index" = 535'
OTHER_CLASS = "CREATE OPERATOR CLASS other FOR TYPE bytea USING btree AS OPERATOR 1 <, "
SPECIAL = 'CREATE INDEX entries_special ON entries (log, kind, type, "index")'
SCHEMA_CHANGES: dict[str, list[str]] = {
    "a child table": [CHILD],
    "a child table with a forged row": [CHILD, FORGED],
    "a parent": ["CREATE TABLE parent (log bigint NOT NULL)", "ALTER TABLE tiles INHERIT parent"],
    "row-level security": ["ALTER TABLE entries ENABLE ROW LEVEL SECURITY"],
    "forced row-level security": [
        'CREATE POLICY hide ON entries USING ("index" < 500)',
        "ALTER TABLE entries ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE entries FORCE ROW LEVEL SECURITY",
    ],
    "not logged": ["ALTER TABLE checkpoints SET UNLOGGED"],
    "another column": ["ALTER TABLE entries ADD COLUMN more text"],
    "a default": ["ALTER TABLE entries ALTER COLUMN kind SET DEFAULT 0"],
    "nulls allowed": ["ALTER TABLE entries ALTER COLUMN leaf DROP NOT NULL"],
    "another collation": [
        "DROP VIEW signed_records",
        'ALTER TABLE logs ALTER COLUMN vkey TYPE text COLLATE "default"',
    ],
    "a constraint": ["ALTER TABLE entries ADD CONSTRAINT few CHECK (kind < 9)"],
    "no primary key": ["ALTER TABLE tiles DROP CONSTRAINT tiles_pkey"],
    "an index dropped": ["DROP INDEX entries_event_id"],
    "an unknown index": ["CREATE INDEX mine ON entries (kind)"],
    "an index of other rows": [
        "DROP INDEX entries_event_id",
        "CREATE INDEX entries_event_id ON entries (event_id, log) WHERE kind = 0",
    ],
    "an index with another operator": ["DROP INDEX entries_special", f"{SPECIAL} WHERE kind > 0"],
    "an index of other columns": [
        "DROP INDEX entries_event_id",
        "CREATE INDEX entries_event_id ON entries (log, event_id) WHERE event_id IS NOT NULL",
    ],
    "an index in another order": [
        "DROP INDEX entries_event_id",
        "CREATE INDEX entries_event_id ON entries (event_id DESC, log) WHERE event_id IS NOT NULL",
    ],
    "an index of an expression": [
        "DROP INDEX entries_event_id",
        "CREATE INDEX entries_event_id ON entries ((event_id || ''), log) "
        "WHERE event_id IS NOT NULL",
    ],
    "an index with another collation": [
        "DROP INDEX logs_origin",
        'CREATE UNIQUE INDEX logs_origin ON logs (origin COLLATE "default")',
    ],
    "an index that is not unique": [
        "DROP INDEX logs_origin",
        "CREATE INDEX logs_origin ON logs (origin)",
    ],
    "an index that is not valid": [
        "SET allow_system_table_mods = on",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'entries_event_id'::regclass",
    ],
    "an index that is not kept": [
        "SET allow_system_table_mods = on",
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'entries_event_id'::regclass",
    ],
    "a hash index": [
        "DROP INDEX entries_event_id",
        "CREATE INDEX entries_event_id ON entries USING hash (event_id)",
    ],
    "another operator class": [
        f"{OTHER_CLASS}OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, "
        "FUNCTION 1 byteacmp(bytea, bytea)",
        "DROP INDEX entries_event_id",
        "CREATE INDEX entries_event_id ON entries (event_id other, log) WHERE event_id IS NOT NULL",
    ],
    "no view": ["DROP VIEW signed_records"],
    "another view": [
        "DROP VIEW signed_records",
        "CREATE VIEW signed_records AS SELECT log, \"index\", ''::text AS source, "
        "''::text AS event_id, ''::text AS producer_key_id, ''::bytea AS producer_signature, "
        "0::bigint AS checkpoint_size FROM entries",
    ],
}


@pytest.mark.parametrize("what", SCHEMA_CHANGES)
def test_a_schema_that_is_not_as_it_was_made(ledger: Ledger, what: str) -> None:
    run(ledger, SCHEMA_CHANGES[what])
    report = ledger.verify()
    assert report.verdict is Verdict.TAMPERED
    assert "schema_changed" in codes(report)
    with pytest.raises(StoreCorrupt, match="was changed"):
        open_reader(ledger.url, sound=True)
    with open_store(ledger.url) as store, pytest.raises(StoreCorrupt, match="was changed"):
        store.append(0, [message(20_000)], SIGNER)


def view_now(ledger: Ledger) -> str:
    """The view's query as the server prints it, every table with its schema."""
    run(ledger, ["BEGIN", "SET LOCAL search_path = pg_catalog"])
    name = f"{ledger.backend.schema}.signed_records"
    ((text,),) = ledger.attacker.sql(f"SELECT pg_get_viewdef('{name}'::regclass)")
    ledger.attacker.sql("COMMIT")
    return str(text)


def schema_changed(ledger: Ledger) -> bool:
    """Whether the verifier says so, and no more than that."""
    report = ledger.verify()
    return report.verdict is Verdict.TAMPERED and codes(report) == {"schema_changed"}


def test_the_view_over_tables_in_a_schema_that_is_called_entries(ledger: Ledger) -> None:
    """Its name could be taken for that of the table, before a column."""
    schema = ledger.backend.schema
    query = view_now(ledger)
    assert f"FROM {schema}.entries" in query
    for table in ("entries", "checkpoints"):
        query = query.replace(f"{schema}.{table}", f"entries.{table}")
    run(
        ledger,
        [
            "CREATE SCHEMA entries",
            f"CREATE TABLE entries.entries AS SELECT * FROM {schema}.entries LIMIT 3",
            f"CREATE TABLE entries.checkpoints AS SELECT * FROM {schema}.checkpoints",
            f"CREATE OR REPLACE VIEW {schema}.signed_records AS {query}",
        ],
    )
    try:
        assert schema_changed(ledger)
    finally:
        ledger.attacker.sql("DROP SCHEMA entries CASCADE")


@pytest.mark.parametrize(
    ("honest", "other"),
    [
        ("encode(entries.event_id, ", "{schema}.encode(entries.event_id, "),
        ("'escape'", "' escape'"),
        ("convert_from(entries.event_id, 'UTF8'::name)", "{0}::name::text"),
    ],
)
def test_a_view_that_differs_in_a_function_a_constant_or_a_cast(
    ledger: Ledger, honest: str, other: str
) -> None:
    """Each of them once counted as how another release prints the same."""
    schema = ledger.backend.schema
    query = view_now(ledger)
    honest = honest if honest in query else honest.replace("entries.", "")
    assert honest in query
    changed = query.replace(honest, other.format(honest, schema=schema))
    run(
        ledger,
        [
            f"CREATE FUNCTION {schema}.encode(bytea, text) RETURNS text LANGUAGE sql "
            "AS 'SELECT NULL::text'",
            f"CREATE OR REPLACE VIEW {schema}.signed_records AS {changed}",
        ],
    )
    assert schema_changed(ledger)


def test_a_collation_of_the_right_name_in_another_schema(ledger: Ledger) -> None:
    schema = ledger.backend.schema
    run(
        ledger,
        [
            f'CREATE COLLATION {schema}."C" FROM pg_catalog."POSIX"',
            f'ALTER TABLE logs ALTER COLUMN vkey TYPE text COLLATE {schema}."C"',
        ],
    )
    assert schema_changed(ledger)


@pytest.mark.parametrize("table", ["entries", "tiles", "checkpoints", "logs", "schema_versions"])
@pytest.mark.parametrize("stand_in", ["view", "materialized view", "partitioned table", "nothing"])
def test_something_else_in_place_of_a_table(ledger: Ledger, table: str, stand_in: str) -> None:
    key = "version" if table == "schema_versions" else "log"
    honest = f"SELECT * FROM hidden_{table}"
    make = {
        "view": [f"CREATE VIEW {table} AS {honest}"],
        "materialized view": [f"CREATE MATERIALIZED VIEW {table} AS {honest}"],
        "partitioned table": [
            f"CREATE TABLE {table} (LIKE hidden_{table}) PARTITION BY LIST ({key})",
            f"CREATE TABLE part PARTITION OF {table} DEFAULT",
            f"INSERT INTO {table} {honest}",
        ],
        "nothing": [],
    }
    run(ledger, [f"ALTER TABLE {table} RENAME TO hidden_{table}", *make[stand_in]])
    if table == "schema_versions" and stand_in == "nothing":
        return  # `audit verify` is told that there is no ledger: tests/store/test_postgresql.py
    report = ledger.verify()
    assert report.verdict is Verdict.TAMPERED and codes(report) == {"table_replaced"}


@pytest.mark.parametrize(
    ("column", "type_", "using"),
    [
        ("leaf", "text", "encode(leaf, 'hex')"),
        ("leaf", "bytea[]", "ARRAY[leaf]"),
        ("index", "numeric", '"index"'),
        ("index", "text", '"index"::text'),
        ("recorded_time_us", "float8", "recorded_time_us"),
        ("recorded_time_us", "timestamptz", "'infinity'"),
        ("kind", "boolean", "kind = 0"),
        ("kind", "jsonb", "'{\"a\": [1]}'"),
        ("type", "json", "to_json(type)"),
        ("source", "uuid", "NULL"),
        ("event_id", "inet", "'::1'"),
        ("entity_type", "int4range", "'[1,2)'"),
        ("entity_key", "tsvector", "'a b'"),
        ("signature", "xid", "'1'"),
    ],
)
def test_a_column_of_another_type(ledger: Ledger, column: str, type_: str, using: str) -> None:
    """Never a traceback, whatever the driver makes of it."""
    indexes = ("event_id", "entity", "special")
    run(
        ledger,
        [
            "DROP VIEW signed_records",
            *(f"DROP INDEX entries_{name}" for name in indexes),
            "ALTER TABLE entries DROP CONSTRAINT entries_pkey",
            f'ALTER TABLE entries ALTER COLUMN "{column}" TYPE {type_} USING {using}',
        ],
    )
    report = ledger.verify()
    assert report.verdict is Verdict.TAMPERED
    assert "schema_changed" in codes(report)


@pytest.mark.parametrize("column", ["log", "level", "index", "size", "data"])
def test_a_number_or_text_of_another_type_beside_the_entries(ledger: Ledger, column: str) -> None:
    table = "checkpoints" if column == "size" else "tiles"
    type_ = "text USING encode(data, 'hex')" if column == "data" else "numeric"
    run(ledger, ["DROP VIEW signed_records", f'ALTER TABLE {table} ALTER "{column}" TYPE {type_}'])
    report = ledger.verify()
    assert report.verdict is Verdict.TAMPERED and "schema_changed" in codes(report)


# Names that stand in for others


def test_a_schema_that_comes_first_on_the_search_path(ledger: Ledger) -> None:
    """Of the role, of the database, or one that has the user's name."""
    shadow = f"{ledger.backend.schema}_shadow"
    path = f"{shadow}, {ledger.backend.schema}"
    run(
        ledger,
        [
            f"CREATE SCHEMA {shadow}",
            *(
                f"CREATE TABLE {shadow}.{name} (LIKE {name})"
                for name in ("entries", "logs", "checkpoints", "schema_versions")
            ),
            f"CREATE ROLE {shadow} LOGIN SUPERUSER",
            f"ALTER ROLE {shadow} SET search_path = {path}",
        ],
    )
    try:
        with open_reader(user_url(ledger.url, shadow)) as reader:
            report = verify(reader, POLICY)
    finally:
        run(ledger, [f"DROP ROLE {shadow}", f"DROP SCHEMA {shadow} CASCADE"])
    assert report.verdict is Verdict.OK and report.logs[0].verified_size == 536


def test_temporary_tables_and_operators_of_our_names(ledger: Ledger) -> None:
    """In the very session: as a trigger at login, or a careless connection pool, would leave."""
    schema = ledger.backend.schema
    run(
        ledger,
        [
            f"CREATE FUNCTION {schema}.never(bigint, smallint) RETURNS boolean LANGUAGE sql "
            "IMMUTABLE AS 'SELECT false'",
            f"CREATE OPERATOR {schema}.= "
            f"(LEFTARG = bigint, RIGHTARG = smallint, FUNCTION = {schema}.never)",
            f"CREATE FUNCTION {schema}.max(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 0::int8'",
        ],
    )

    def shadow(connection: object, _: object) -> None:
        connection.execute("SET default_transaction_read_only = off")  # type: ignore[attr-defined]
        for name in ("entries", "logs", "checkpoints", "schema_versions"):
            statement = f"CREATE TEMPORARY TABLE {name} (LIKE {schema}.{name})"
            connection.execute(statement)  # type: ignore[attr-defined]
        connection.execute(f"SET search_path = pg_temp, {schema}")  # type: ignore[attr-defined]
        connection.commit()  # type: ignore[attr-defined]

    with open_reader(ledger.url) as reader:
        reader._engine.dispose()
        event.listen(reader._engine, "connect", shadow)
        report = verify(reader, POLICY)
    assert report.verdict is Verdict.OK and report.logs[0].verified_size == 536
