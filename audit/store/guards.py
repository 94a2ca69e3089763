"""Append-only guards on SQLite: triggers that refuse every change of what was sealed.

They stop accidents and applications, not an attacker with the file in his hands: for him there are
the hash chain, the signed checkpoints and the copies of them elsewhere.

`INSERT OR REPLACE` deletes without firing delete triggers, so each table also refuses an insert
over any unique column, the hidden rowid included. (In a BEFORE trigger SQLite reports rowid -1 when
the statement does not give one; no row has that.) Entries must come in order besides.
"""

from sqlalchemy import Connection

_MESSAGE = "append-only: this ledger never changes what it recorded"

_KEYS = {
    "tiles": ("log", "level", "index"),
    "checkpoints": ("log", "size"),
    "logs": ("log",),
    "schema_versions": ("version",),
}

_IN_ORDER = """NEW."index" IS NOT
    (SELECT COALESCE(MAX("index") + 1, 0) FROM entries WHERE log = NEW.log)"""


def _refuse(name: str, when: str, table: str, condition: str = "") -> str:
    return (
        f"CREATE TRIGGER {name} BEFORE {when} ON {table}{condition}\n"
        f"BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END"
    )


def _insert_guard(table: str, condition: str) -> str:
    # `rowid` finds an INSERT OR REPLACE that aims at the hidden key instead of the visible one.
    rowid = f"EXISTS (SELECT 1 FROM {table} WHERE rowid = NEW.rowid)"
    return _refuse(f"{table}_insert", "INSERT", table, f"\nWHEN {condition}\n    OR {rowid}")


def _taken(table: str, keys: tuple[str, ...]) -> str:
    same = " AND ".join(f'"{key}" = NEW."{key}"' for key in keys)
    return f"EXISTS (SELECT 1 FROM {table} WHERE {same})"


def _guards() -> dict[str, str]:
    guards = {"entries_insert": _insert_guard("entries", _IN_ORDER)}
    for table, keys in _KEYS.items():
        condition = _taken(table, keys)
        if table == "logs":
            condition += f"\n    OR {_taken(table, ('origin',))}"
        guards[f"{table}_insert"] = _insert_guard(table, condition)
    for table in ("entries", *_KEYS):
        guards[f"{table}_update"] = _refuse(f"{table}_update", "UPDATE", table)
        guards[f"{table}_delete"] = _refuse(f"{table}_delete", "DELETE", table)
    return guards


GUARDS = _guards()
"""Trigger name -> the statement that makes it."""


def create_guards(connection: Connection) -> None:
    """Create all guards, inside the caller's transaction."""
    for statement in GUARDS.values():
        connection.exec_driver_sql(statement)


def check_guards(connection: Connection) -> list[tuple[str, str]]:
    """(code, message) for each guard that is missing or not the one that was created."""
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    found = {str(name): str(sql) for name, sql in rows}
    warnings = []
    for name, statement in GUARDS.items():
        if name not in found:
            warnings.append(("guard_missing", f"the append-only guard {name} is gone"))
        elif found[name] != statement:
            warnings.append(("guard_changed", f"the append-only guard {name} was replaced"))
    warnings.extend(
        ("guard_unknown", f"an unknown trigger {name} acts on the store")
        for name in sorted(found.keys() - GUARDS.keys())
    )
    return warnings
