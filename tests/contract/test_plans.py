"""No question reads more than it must: every query of reader and writer goes through an index.

Without table statistics a database may take any index that begins with `log` and then scan the
whole log; a plan that does so is found here, not by a user with ten million entries.
"""

from collections.abc import Callable
from typing import Any

import pytest

from audit.store.sql_store import SqlStore
from tests.backends import Backend, messages, signer_of, statements_of

SIGNER = signer_of()
QUESTIONS: dict[str, tuple[Callable[[SqlStore], object], str]] = {
    "append": (lambda store: store.append(0, messages(7, 9), SIGNER), "entries_event_id"),
    "find_event": (lambda store: store.find_event("event-1"), "entries_event_id"),
    "entity": (lambda store: list(store.entity(0, "thing", "1")), "entries_entity"),
    "dataset": (lambda store: list(store.entity(0, "thing", None, 99_999)), "entries_entity"),
    "piece of a dataset": (lambda store: list(store.entity(0, "thing", None, 99)), "primary key"),
    "keyless": (lambda store: list(store.keyless(0, "thing", 99)), "entries_entity"),
    "of_row": (lambda store: store.of_row(0, "thing", "1", 99), "entries_entity"),
    "entity_keys": (lambda store: list(store.entity_keys(0, "thing", 99)), "entries_entity"),
    "entity_types": (lambda store: store.entity_types(0, 99), "entries_entity"),
    "special": (lambda store: list(store.special(0, 99)), "entries_special"),
    "schemas": (lambda store: list(store.special(0, 99, 0)), "entries_special"),
    "counts": (lambda store: store.counts(0), "entries_special"),
    "counts below": (lambda store: store.counts(0, 50), "entries_special"),
    "size_at": (lambda store: store.size_at(0, 5), "entries_recorded"),
    "leaves": (lambda store: list(store.leaves(0, 1, 3)), "primary key"),
    "leaf": (lambda store: store.leaf(0, 1), "primary key"),
}
NOT_THERE = {"postgresql": {"entries_recorded"}}
"""Indexes that a database does without; the primary key answers instead."""


OTHER_LOG = 5
"""Has more entries than log 0, so that walking past them would be a plan of its own."""


def asked(store: SqlStore, ask: Callable[[SqlStore], object]) -> list[tuple[str, Any]]:
    """The statements that read entries, with their values."""
    with statements_of(store) as seen:
        ask(store)
    return [
        (statement, values)
        for statement, values in seen
        if statement.lstrip().startswith(("SELECT", "WITH")) and "entries" in statement
    ]


def check(backend: Backend, store: SqlStore, name: str) -> None:
    """Each statement goes along the whole primary key, or the index made for the question."""
    ask, index = QUESTIONS[name]
    plans = [
        plan
        for statement, values in asked(store, ask)
        for plan in backend.explain(store, statement, values)
    ]
    assert plans
    for used, condition in plans:
        assert used == index or (used == "primary key" and "index" in condition.lower()), plans
    if index not in NOT_THERE.get(backend.name, ()):
        assert index in {used for used, _ in plans}


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_goes_through_its_index(backend: Backend, store: SqlStore, name: str) -> None:
    store.append(0, messages(0, 5), SIGNER)
    check(backend, store, name)


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_statistics_or_none_make_no_question_walk_a_log(backend: Backend, store: SqlStore) -> None:
    """Asked of a table as big as it gets without statistics, then with them, then vacuumed."""
    backend.sql("ALTER TABLE entries SET (autovacuum_enabled = off)")
    store.append(0, messages(0, 5), SIGNER)
    for name in QUESTIONS:
        check(backend, store, name)
    store.append(0, messages(5, 2_000), SIGNER)
    backend.sql(
        f"INSERT INTO entries SELECT {OTHER_LOG}, n, n, 0, 'data.update', 's', "
        "('e' || n)::bytea, 't' || n % 7, ('k' || n % 1000)::bytea, NULL, 'leaf' "
        "FROM generate_series(1, 20000) n"
    )
    for prepare in ("SELECT", "ANALYZE entries", "VACUUM ANALYZE entries"):
        backend.sql(prepare)
        for name in QUESTIONS:
            check(backend, store, name)
