"""The texts of PostgreSQL's trigger functions: what each event of a table writes to the outbox."""

from audit.capture.database.captured import Captured
from audit.capture.database.catalog_postgresql import Found
from audit.capture.database.cells_postgresql import (
    changed,
    image,
    key,
    patch,
    same_key,
    same_row,
)
from audit.capture.database.cells_sqlite import literal, quoted
from audit.capture.database.database_context import SETTING, TRANSACTION
from audit.capture.database.tables import OUTBOX
from audit.event.times import MAX_TIME_US, MIN_TIME_US

MAX_CONTEXT_CHARS = 1_024
"""Of each text of the context that triggers take: at most 4,096 bytes."""
DIGEST = "\x00"
"""Stands in a body for its digest: no name can hold it."""
COLUMNS = (
    "event_id, origin, op, entity_type, entity_key, before, after, image, "
    "actor, reason, request_id, trace_id, transaction_id, occurred_us"
)
"""The columns of the outbox that are written."""


class Bodies:
    """The texts of one table's functions. DIGEST stands for their own."""

    def __init__(self, captured: Captured, found: Found) -> None:
        """Of a table as the catalog has it."""
        self._captured = captured
        self._kinds = found.kinds
        self._schema = quoted(found.schema)
        self._live = f"{self._schema}.{quoted(captured.table)}"
        self._is_partitioned = found.is_partitioned
        self._is_entangled = found.is_entangled

    def all(self) -> dict[str, str]:
        """Event -> the text of its function."""
        created, deleted = self._created, self._deleted
        corrected = self._corrected("attestory_new AS n")
        at_row = f"JOIN {self._live} AS l ON {self._row_of('o')}"
        back = created(f"attestory_old AS o {at_row}", "l")
        return {
            "insert": self._body("attestory_new", [created("attestory_new AS n", "n")], corrected),
            "delete": self._body("attestory_old", [deleted("attestory_old AS o", "o")], [back]),
            "update": self._update(),
            **({"partition": self._partition()} if self._is_partitioned else
               {"truncate": self._truncate()}),
        }  # fmt: skip

    def _update(self) -> str:
        old, new = "attestory_old", "attestory_new"
        if self._is_entangled:
            old, new = self._net(old, new), self._net(new, old)
        old, new = f"{old} AS o", f"{new} AS n"
        gone = f"NOT EXISTS (SELECT 1 FROM {new} WHERE {self._same('o', 'n')})"
        come = f"NOT EXISTS (SELECT 1 FROM {old} WHERE {self._same('o', 'n')})"
        updated = self._updated(f"{old} JOIN {new} ON {self._same('o', 'n')}", "o", "n")
        moved = (
            f"attestory_moved := EXISTS (SELECT 1 FROM {old} WHERE {gone});\n"
            "IF attestory_moved THEN\n"
            f"{self._deleted(f'{old} WHERE {gone}', 'o')};\n"
            f"{self._created(f'{new} WHERE {come}', 'n')};\nEND IF"
        )
        back = self._created(f"{old} JOIN {self._live} AS l ON {self._row_of('o')}", "l")
        again = f"IF attestory_moved THEN\n{back} WHERE {gone};\nEND IF"
        return self._body("attestory_new", [moved, updated], [*self._corrected(new), again])

    def _corrected(self, new: str) -> list[str]:
        at_row = f"JOIN {self._live} AS l ON {self._row_of('n')}"
        lost = f"NOT EXISTS (SELECT 1 FROM {self._live} AS l WHERE {self._row_of('n')})"
        updated = self._updated(f"{new} {at_row}", "n", "l")
        return [updated, self._deleted(f"{new} WHERE {lost}", "n")]

    def _net(self, one: str, other: str) -> str:
        """A transition table without the rows that the other has too: what was in between.

        Updates by foreign keys come into the same transition tables as the statement's own.
        """
        columns = ", ".join(quoted(name) for name in self._captured.columns)
        told, number = f"attestory_x_{DIGEST}", f"attestory_n_{DIGEST}"

        def numbered(table: str) -> str:
            return (
                f"(SELECT *, row_number() OVER (PARTITION BY {told}) AS {number} FROM (SELECT "
                f'{columns}, ROW({columns})::text COLLATE "C" AS {told} FROM {table}) AS r)'
            )

        return (
            f"(SELECT {columns} FROM {numbered(one)} AS a WHERE NOT EXISTS (SELECT 1 FROM "
            f"{numbered(other)} AS b WHERE b.{told} = a.{told} AND b.{number} = a.{number}))"
        )

    def _same(self, one: str, other: str) -> str:
        return same_key(self._captured, self._kinds, (one, other))

    def _row_of(self, side: str) -> str:
        return same_row(self._captured, self._kinds, ("l", side))

    def row(
        self, op: str, entity_key: str, before: str, after: str, kind: str, origin: str = "trigger"
    ) -> str:
        """The SQL of a row of the outbox; `attestory_c` is the context."""
        context = ["actor", "reason", "request_id", "trace_id", "transaction_id", "occurred_us"]
        return (
            f"gen_random_uuid()::text, '{origin}', '{op}', {literal(self._captured.entity_type)}, "
            f"{entity_key}, {before}, {after}, '{kind}', "
            + ", ".join(f"attestory_c.{name}" for name in context)
        )

    def _insert(self, row: str, source: str) -> str:
        return f"INSERT INTO {self._schema}.{OUTBOX} ({COLUMNS})\nSELECT {row}\nFROM {source}"

    def _created(self, source: str, side: str) -> str:
        entity_key = key(side, self._captured, self._kinds)
        whole = image(side, self._captured, self._kinds, self._schema)
        return self._insert(self.row("create", entity_key, "NULL", whole, "full"), source)

    def _deleted(self, source: str, side: str) -> str:
        entity_key = key(side, self._captured, self._kinds)
        whole = image(side, self._captured, self._kinds, self._schema)
        return self._insert(self.row("delete", entity_key, whole, "NULL", "full"), source)

    def _updated(self, source: str, old: str, new: str) -> str:
        before, after = (
            patch(side, self._captured, self._kinds, self._schema, (old, new))
            for side in (old, new)
        )
        row = self.row("update", key(new, self._captured, self._kinds), before, after, "patch")
        differs = changed(self._captured, self._kinds, (old, new))
        return self._insert(row, f"{source}\nWHERE {differs}")

    def _body(self, rows: str, writes: list[str], corrections: list[str]) -> str:
        written = ";\n".join(writes)
        again = ";\n".join(corrections)
        return f"""
DECLARE
    attestory_c record;
    attestory_again boolean;
    attestory_moved boolean;
BEGIN
IF NOT EXISTS (SELECT 1 FROM {rows}) THEN
    RETURN NULL;
END IF;
attestory_again := current_setting('attestory.t_{DIGEST}', true) = statement_timestamp()::text;
PERFORM set_config('attestory.t_{DIGEST}', statement_timestamp()::text, true);
SELECT * INTO attestory_c FROM {self._schema}.attestory_context_v1();
{written};
IF attestory_again THEN
    -- The rows as they are now, found one by one through the table's index.
    PERFORM set_config('enable_nestloop', 'on', true), set_config('enable_hashjoin', 'off', true),
            set_config('enable_mergejoin', 'off', true);
{again};
END IF;
RETURN NULL;
END """

    def _truncate(self) -> str:
        row = self.row("truncate", "NULL", "NULL", "NULL", "patch")
        return f"""
DECLARE
    attestory_c record;
BEGIN
SELECT * INTO attestory_c FROM {self._schema}.attestory_context_v1();
{self._insert(row, "(SELECT 1) AS one")};
RETURN NULL;
END """

    def _partition(self) -> str:
        context = f"{self._schema}.attestory_context_v1() AS attestory_c"
        written = literal(self._deleted(f"attestory_part_{DIGEST} AS o, {context}", "o"))
        return f"""
BEGIN
EXECUTE replace({written}, 'attestory_part_{DIGEST}', TG_RELID::regclass::text);
RETURN NULL;
END """


# A context that is no JSON object gives nulls: it must never fail the application's write. Called
# by our own functions alone, under their search path.
CONTEXT = f"""CREATE OR REPLACE FUNCTION SCHEMA.attestory_context_v1(
    OUT actor text, OUT reason text, OUT request_id text, OUT trace_id text,
    OUT transaction_id text, OUT occurred_us bigint)
LANGUAGE plpgsql VOLATILE AS $attestory$
DECLARE
    given text := current_setting('{SETTING}', true);
    c jsonb;
    us text;
BEGIN
    IF given <> '' THEN
        BEGIN
            c := given::jsonb;
        EXCEPTION WHEN OTHERS THEN
            c := NULL;
        END;
        IF jsonb_typeof(c) = 'object' THEN
            actor := left(c ->> 'actor', {MAX_CONTEXT_CHARS});
            reason := left(c ->> 'reason', {MAX_CONTEXT_CHARS});
            request_id := left(c ->> 'request_id', {MAX_CONTEXT_CHARS});
            trace_id := left(c ->> 'trace_id', {MAX_CONTEXT_CHARS});
            transaction_id := left(c ->> 'transaction_id', {MAX_CONTEXT_CHARS});
            us := c ->> 'valid_time_us';
            IF us ~ '^-?[0-9]{{1,18}}$' THEN
                occurred_us := us::bigint;
                IF occurred_us NOT BETWEEN {MIN_TIME_US} AND {MAX_TIME_US} THEN
                    occurred_us := NULL;
                END IF;
            END IF;
        END IF;
    END IF;
    IF transaction_id IS NULL THEN
        transaction_id := left(current_setting('{TRANSACTION}', true), 64);
        IF transaction_id IS NULL OR transaction_id = '' THEN
            transaction_id := gen_random_uuid()::text;
            PERFORM set_config('{TRANSACTION}', transaction_id, true);
        END IF;
    END IF;
    IF occurred_us IS NULL THEN
        occurred_us := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    END IF;
END $attestory$"""
