"""The `ledger` fixture of the replay tests, on SQLite."""

from collections.abc import Iterator

import pytest

from tests.backends import SqliteBackend, new_backend
from tests.replay.conftest import LedgerInTest


@pytest.fixture
def ledger(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LedgerInTest]:
    """A new ledger."""
    made = LedgerInTest(new_backend(SqliteBackend.name, request, tmp_path_factory.mktemp("ledger")))
    with made.store:
        yield made
