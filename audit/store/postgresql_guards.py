"""Append-only guards on PostgreSQL: a trigger that refuses every change of what was sealed.

They stop accidents and applications, not an attacker who owns the database: for him there are the
hash chain, the signed checkpoints and the copies of them elsewhere.

One trigger a table fires once a statement, before UPDATE, DELETE and TRUNCATE; INSERT .. ON
CONFLICT DO UPDATE and MERGE fire it too. It is ENABLE ALWAYS: a session that calls itself a replica
(`session_replication_role`) does not get past it. What is inserted is left to the primary key and
to the verifier: a trigger that sees the new rows of a COPY made appends take half as long again.
Whoever may insert may therefore put a row at an index that is too high; the next append and `audit
verify` find that the newest checkpoint does not cover it.
"""

from typing import NamedTuple

from sqlalchemy import Connection

from audit.store import tables
from audit.store.postgresql import quoted

FUNCTION = "append_only"

_BODY = """
BEGIN
  RAISE EXCEPTION 'append-only: this ledger never changes what it recorded'
    USING ERRCODE = 'integrity_constraint_violation';
END
"""

_BEFORE, _DELETE, _UPDATE, _TRUNCATE = 2, 8, 16, 32
_EVENTS = _BEFORE | _DELETE | _UPDATE | _TRUNCATE
"""pg_trigger.tgtype of a guard; without the bit 1, which means: for each row."""

_GUARDED = [table.name for table in tables.APPEND_ONLY]
_ALL = sorted(tables.metadata.tables)

_TRIGGERS = """
SELECT c.relname::text, t.tgname::text, t.tgenabled = 'A', t.tgtype::int,
       t.tgqual IS NULL AND t.tgattr::text = '' AND t.tgnargs = 0 AND t.tgparentid = 0
         AND NOT t.tgdeferrable AND t.tgoldtable IS NULL AND t.tgnewtable IS NULL,
       p.pronamespace = c.relnamespace AND p.proname = %s AND p.prosrc = %s
         AND l.lanname = 'plpgsql' AND p.proconfig IS NULL AND NOT p.prosecdef AND p.pronargs = 0
  FROM pg_trigger t
  JOIN pg_class c ON c.oid = t.tgrelid
  JOIN pg_proc p ON p.oid = t.tgfoid
  JOIN pg_language l ON l.oid = p.prolang
 WHERE c.relnamespace = to_regnamespace(%s) AND c.relname = ANY(%s)
 ORDER BY 1, 2
"""

_RULES = """
SELECT c.relname::text, r.rulename::text
  FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
 WHERE c.relnamespace = to_regnamespace(%s) AND c.relname = ANY(%s) AND r.rulename <> '_RETURN'
 ORDER BY 1, 2
"""

_GRANTS = """
SELECT DISTINCT coalesce(r.rolname::text, 'everybody'), g.privilege_type::text, c.relname::text
  FROM pg_class c
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL AND NOT a.attisdropped
  CROSS JOIN LATERAL
       (SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(a.attacl)) g
  LEFT JOIN pg_roles r ON r.oid = g.grantee
 WHERE c.relnamespace = to_regnamespace(%s) AND c.relname = ANY(%s) AND g.grantee <> c.relowner
   AND g.privilege_type = ANY(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER'])
 ORDER BY 1, 2, 3
"""


class _Trigger(NamedTuple):
    """One row of _TRIGGERS."""

    table: str
    name: str
    always: bool
    events: int
    plain: bool
    refuses: bool


def guard_of(table: str) -> str:
    """The name of the trigger that guards a table."""
    return f"{table}_append_only"


def create_guards(connection: Connection, schema: str) -> None:
    """Create all guards, inside the caller's transaction."""
    schema = quoted(schema)
    function = f"{schema}.{FUNCTION}()"
    connection.exec_driver_sql(
        f"CREATE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql AS $body${_BODY}$body$"
    )
    for table in _GUARDED:
        guard = guard_of(table)
        connection.exec_driver_sql(
            f"CREATE TRIGGER {guard} BEFORE UPDATE OR DELETE OR TRUNCATE ON {schema}.{table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {function}"
        )
        connection.exec_driver_sql(f"ALTER TABLE {schema}.{table} ENABLE ALWAYS TRIGGER {guard}")


def check_guards(connection: Connection, schema: str) -> list[tuple[str, str]]:
    """(code, message) for each guard that is missing, switched off or not the one created.

    Also for what acts on the tables beside them, and for grants that leave nothing but them.
    """
    name = quoted(schema)
    rows = connection.exec_driver_sql(_TRIGGERS, (FUNCTION, _BODY, name, _ALL))
    found = [_Trigger(*row) for row in rows]
    guards = {t.table: t for t in found if t.name == guard_of(t.table) and t.table in _GUARDED}
    warnings = []
    for table in _GUARDED:
        guard = guards.get(table)
        if guard is None:
            warnings.append(("guard_missing", f"the append-only guard {guard_of(table)} is gone"))
        elif not guard.always:
            text = f"the append-only guard {guard.name} was switched off, or is for some sessions"
            warnings.append(("guard_changed", text))
        elif guard.events != _EVENTS or not guard.plain or not guard.refuses:
            warnings.append(("guard_changed", f"the append-only guard {guard.name} was replaced"))
    warnings += [
        ("guard_unknown", f"an unknown trigger {trigger.name} acts on {trigger.table}")
        for trigger in found
        if guards.get(trigger.table) is not trigger
    ]
    warnings += [
        ("guard_unknown", f"a rule {rule} acts on {table}")
        for table, rule in connection.exec_driver_sql(_RULES, (name, _ALL))
    ]
    warnings += [
        ("guard_open", f"{role} has the right to {privilege} on {table}")
        for role, privilege, table in connection.exec_driver_sql(_GRANTS, (name, _GUARDED))
    ]
    return warnings
