"""Fixtures of the contract suite: every test runs on every backend."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.store.sql_store import SqlStore
from tests.backends import BACKENDS, Backend, new_backend


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """A place for a store; nothing is in it yet."""
    return new_backend(request.param, request, tmp_path)


@pytest.fixture
def store(backend: Backend) -> Iterator[SqlStore]:
    """A new ledger."""
    with backend.new_ledger() as store:
        yield store
