"""No question reads more than it must: every query of reader and writer goes through an index.

Without table statistics SQLite may take any index that begins with `log` and then scan the whole
log; a plan that does so is found here, not by a user with ten million entries.
"""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from audit.store.sql_store import SqlStore
from tests.backends import SqliteBackend, messages, signer_of

SIGNER = signer_of()
QUESTIONS: dict[str, tuple[Callable[[SqlStore], object], str]] = {
    "append": (lambda store: store.append(0, messages(7, 9), SIGNER), "entries_event_id"),
    "find_event": (lambda store: store.find_event("event-1"), "entries_event_id"),
    "entity": (lambda store: list(store.entity(0, "thing", "1")), "entries_entity"),
    "dataset": (lambda store: list(store.entity(0, "thing", None, 99)), "entries_entity"),
    "keyless": (lambda store: list(store.keyless(0, "thing", 99)), "entries_entity"),
    "entity_keys": (lambda store: list(store.entity_keys(0, "thing", 99)), "entries_entity"),
    "entity_types": (lambda store: store.entity_types(0, 99), "entries_entity"),
    "special": (lambda store: list(store.special(0, 99)), "entries_special"),
    "counts": (lambda store: store.counts(0), "entries_special"),
    "size_at": (lambda store: store.size_at(0, 5), "entries_recorded"),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_goes_through_its_index(
    backend: SqliteBackend, store: SqlStore, name: str
) -> None:
    store.append(0, messages(0, 5), SIGNER)
    ask, index = QUESTIONS[name]
    seen: list[tuple[str, Any]] = []
    event.listen(
        store._engine,
        "before_cursor_execute",
        lambda *call: seen.append((call[2], call[3])),
    )
    ask(store)
    plans = []
    for statement, values in seen:
        newest = statement.startswith("SELECT max(")  # one seek along the primary key
        if statement.startswith("SELECT") and "FROM entries" in statement and not newest:
            rows = backend.sql(f"EXPLAIN QUERY PLAN {statement}", values)
            plans += [str(row[3]) for row in rows]
    assert plans
    assert any(index in plan for plan in plans), plans
    for plan in plans:
        assert not plan.startswith("SCAN"), plan
        named = "sqlite_autoindex" in plan and "(log=?)" not in plan
        assert named or index in plan or "TEMP B-TREE" in plan, plans
