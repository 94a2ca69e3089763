"""For every type: what a trigger writes is what the live table reads as, through `cells`."""

from pathlib import Path

import pytest

from tests.capture.database.outbox_support import new_database
from tests.capture.database.trigger_support import folded, live, opened, run, same, triggers

SQLITE = {
    "BOOLEAN": ("0", "1", "NULL"),
    "INTEGER": ("9223372036854775807", "-9223372036854775808", "0"),
    "BIGINT": ("1", "9007199254740993"),
    "REAL": ("0.1 + 0.2", "1", "5e-324", "1.7976931348623157e308", "-1e22", "9e999", "-9e999"),
    "FLOAT": ("123456.789", "1e-7"),
    "DOUBLE PRECISION": ("2.5",),
    "NUMERIC(10, 2)": ("1.5", "5", "-0.001", "12345678.25", "NULL"),
    "DECIMAL(5, 0)": ("12", "-3"),
    "TEXT": ("'a'", "'é\u2028\"\\$'", "char(0) || 'x' || char(31) || char(127)", "''"),
    "VARCHAR(5)": ("'longer than five'",),
    "BLOB": ("x'00ff'", "x''", "'text'", "5", "1.5"),
    "DATE": ("'2026-02-28'", "'0001-01-01'", "'9999-12-31'", "NULL"),
    "DATETIME": (
        *("'2026-01-02 03:04:05'", "'2026-01-02 03:04:05.000000'", "'2026-01-02T03:04:05.123456'"),
        *("'2026-01-02 03:04:05.120'", "'2026-01-02'", "'2026-01-02 03:04:05+02:00'"),
        *("'0001-01-01 00:00:00.000001'", "'9999-12-31 23:59:59.999999'"),
    ),
    "TIMESTAMP": ("CURRENT_TIMESTAMP",),
    "TIME": ("'03:04:05.000000'", "'03:04:05.120000'", "'23:59:59'"),
    "JSON": ("""'{"$a": [1, 1.5, null, {"b": "$"}]}'""", "'null'", "'[]'", "'\"x\"'"),
    "": ("1", "1.5", "'x'", "x'01'"),
}
POSTGRESQL = {
    "boolean": ("true", "false", "NULL"),
    "smallint": ("-32768",),
    "bigint": ("9223372036854775807", "-9223372036854775808"),
    "oid": ("4294967295",),
    "real": ("0.1", "1", "3.4e38", "'NaN'", "'-Infinity'", "1e-45"),
    "double precision": ("0.1::float8 + 0.2", "1", "1e22", "5e-324", "-0.0::float8", "'Infinity'"),
    "numeric": ("1.50", "0", "1e30", "'NaN'", "'Infinity'", "0.00000001", "100"),
    "numeric(10, 2)": ("1.5", "-0.001", "NULL"),
    "text": ("'é\u2028\"\\$' || chr(1) || chr(127)", "''", "U&'\\+01F600'"),
    "varchar(5)": ("'abc'",),
    "char(5)": ("'ab'",),
    "bytea": ("'\\x00ff'", "''"),
    "date": ("'2026-02-28'", "'0001-01-01'", "'9999-12-31'"),
    "timestamp": (
        *("'2026-01-02 03:04:05'", "'2026-01-02 03:04:05.12'", "'0001-01-01'"),
        "'9999-12-31 23:59:59.999999'",
    ),
    "timestamptz": ("'2026-01-02 03:04:05+05:30'", "'2026-01-02 03:04:05.000001+00'"),
    "time": ("'03:04:05'", "'03:04:05.120'", "'00:00'"),
    "timetz": ("'03:04:05.5+02'", "'03:04:05-05:30'"),
    "interval": ("'1 day 02:00'", "'36:00:00.5'", "'-2 hours'", "'1 day -1 hour'", "'0'"),
    "uuid": ("gen_random_uuid()",),
    "inet": ("'10.0.0.1'", "'10.0.0.1/8'", "'::1'"),
    "cidr": ("'10.0.0.0/8'", "'2001:db8::/32'"),
    "macaddr": ("'08:00:2b:01:02:03'",),
    "json": ("""'{"$a": [1, 1.5, null, {"b": "$"}], "c": 1, "c": 2}'""", "'null'", "'\"\\u00e9\"'"),
    "jsonb": (
        """'{"$a": [1, 1.50, 12345678901234567, {"$$b": true}]}'""", "'[]'", "'{}'", "'\"x\"'",
        "'9223372036854775807'", "'[123456789012345678901234567890]'", "NULL",
    ),
    "int[]": ("'{1,NULL,3}'", "'{}'", "'{{1,2},{3,4}}'", "'[0:1]={5,6}'", "NULL"),
    "numeric[]": ("'{1.50,2}'",),
    "text[]": ("""'{"a,b", "c\\"d", NULL, ""}'""", "'{{{a},{b}},{{c},{d}}}'"),
    "timestamptz[]": ("ARRAY['2026-01-02 03:04:05+05:30'::timestamptz]",),
    "bytea[]": ("ARRAY['\\x00'::bytea]",),
    "boolean[]": ("'{t,f,NULL}'",),
    "mood": ("'so so'", "'good'"),
    "mood[]": ("ARRAY['good'::mood]",),
    "price": ("1.5", "NULL"),
    "label": ("'x'",),
    "int4range": ("'[1,5)'", "'empty'", "'(,3)'"),
    "int4multirange": ("'{[1,5),[7,9)}'", "'{}'", "'{(,3)}'"),
    "daterange": ("'[2026-01-01,2026-02-01)'",),
    "tstzrange": ("'[2026-01-01 00:00+02,)'",),
    "bit(4)": ("B'1010'",),
    "bigint GENERATED ALWAYS AS (id * 2) STORED": (),
}  # fmt: skip
MADE = (
    "CREATE TYPE mood AS ENUM ('so so', 'good')",
    "CREATE DOMAIN price AS numeric(10, 2) CHECK (value > 0)",
    "CREATE DOMAIN label AS text",
)
OPTIONS = (
    "SET LOCAL datestyle = 'German'; SET LOCAL timezone = 'Asia/Kolkata'; "
    "SET LOCAL intervalstyle = 'iso_8601'; SET LOCAL extra_float_digits = -5; "
    "SET LOCAL bytea_output = 'escape'"
)


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_every_type_has_the_same_cells_as_the_live_table(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine = opened(new_database(name, request, tmp_path), request)
    types = SQLITE if name == "sqlite" else POSTGRESQL
    if name == "postgresql":
        run(engine, *MADE)
    columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(types))
    run(engine, f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns})")
    statements = [
        f"INSERT INTO t (id, c{number}) VALUES ({number * 100 + at}, {value})"
        for number, values in enumerate(types.values())
        for at, value in enumerate(values)
    ]
    half = len(statements) // 2
    run(engine, *statements[::2])
    triggers.install(engine)
    # Whatever the session is set to, the cells are the same.
    run(engine, *([OPTIONS] if name == "postgresql" else []), *statements[1::2])
    told, kinds = folded(engine, "t"), list(types)
    seen = live(engine, "t")
    wrong = {
        (kinds[int(key) // 100], column): (row[column], told[key][column])
        for key, row in seen.items()
        for column in row
        if repr(told[key][column]) != repr(row[column])
    }
    assert wrong == {}
    assert len(told) == len(statements) > half
    run(engine, "UPDATE t SET id = id + 100000")
    run(engine, "DELETE FROM t WHERE id < 100500")
    same(engine, "t")


def test_what_python_cannot_hold_is_recorded_as_postgresql_prints_it(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine = opened(new_database("postgresql", request, tmp_path), request)
    columns = "id int PRIMARY KEY, a date, b timestamp, c timestamptz, d interval, e json"
    run(engine, f"CREATE TABLE t ({columns})")
    triggers.install(engine)
    run(
        engine,
        "INSERT INTO t VALUES (1, 'infinity', '-infinity', 'infinity', '1 mon', '[\"\\u0000\"]')",
        "INSERT INTO t VALUES (2, '0044-03-15 BC', '10000-01-01', '0044-03-15 BC', '-1 year')",
    )
    first, second = (folded(engine, "t")[key] for key in "12")
    assert [first[name] for name in "abcde"] == [
        "infinity", "-infinity", "infinity", "1 mon", '["\\u0000"]',
    ]  # fmt: skip
    assert [second[name] for name in "abcd"] == [
        "0044-03-15 BC", "10000-01-01 00:00:00", "0044-03-15 00:00:00+00 BC", "-1 years",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("uuid", ("gen_random_uuid()",)),
        ("date", ("'2026-01-02'",)),
        ("timestamp", ("'2026-01-02 03:04:05.5'",)),
        ("timestamptz", ("'2026-01-02 03:04:05+02'",)),
        ("numeric", ("1.50", "-3")),
        ("boolean", ("true", "false")),
        ("bytea", ("'\\x00ff'",)),
        ("char(4)", ("'ab'",)),
        ("inet", ("'10.0.0.1'",)),
        ("text", ("'é\"\\'", "''")),
        ("mood", ("'so so'",)),
    ],
)
def test_a_key_of_any_type_has_the_same_text(
    kind: str, values: tuple[str, ...], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine = opened(new_database("postgresql", request, tmp_path), request)
    run(engine, *MADE, f"CREATE TABLE one (k {kind} PRIMARY KEY, v int)",
        f"CREATE TABLE two (k {kind}, n bigint, v int, PRIMARY KEY (n, k))")  # fmt: skip
    triggers.install(engine)
    for at, value in enumerate(values):
        run(engine, f"INSERT INTO one VALUES ({value}, {at})")
        run(engine, f"INSERT INTO two VALUES ({value}, 5, {at})")
    run(engine, "UPDATE one SET v = v + 1", "UPDATE two SET v = v + 1")
    same(engine, "one", "two")
