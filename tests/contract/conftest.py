"""Fixtures of the contract suite: every test runs on every backend."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.store.sql_store import SqlStore
from tests.backends import BACKENDS, ORIGIN, SqliteBackend, signer_of


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteBackend:
    """A place for a store; nothing is in it yet."""
    return BACKENDS[request.param](tmp_path)


@pytest.fixture
def store(backend: SqliteBackend) -> Iterator[SqlStore]:
    """A new ledger."""
    with backend.store() as store:
        store.create(ORIGIN, signer_of())
        yield store
