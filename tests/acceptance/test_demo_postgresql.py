"""The demo's story through PostgreSQL: the same claims hold."""

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.acceptance.claims import Claims, Told, refused, tell
from tests.services.postgres import PostgresServer

pytestmark = pytest.mark.slow

PASSWORD = "not-for-the-reader"
ROLE_WITHOUT_RIGHTS = "pg_signal_backend"
"""Every server has it."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Told:
    """A demo with the ledger on a database server, events straight into it."""
    split = urlsplit(postgres_server.new_database())
    if split.password is None:
        user, _, host = split.netloc.rpartition("@")
        split = split._replace(netloc=f"{user}:{PASSWORD}@{host}")
    return tell(tmp_path_factory.mktemp("postgresql"), urlunsplit(split))


class TestOnPostgresql(Claims):
    """What is so with a ledger on a database server."""

    def test_the_ledger_is_in_the_schema_that_was_named(self, told: Told) -> None:
        assert told.store is not None
        assert list(told.settings) == ["AUDIT_STORE"]
        assert urlsplit(told.settings["AUDIT_STORE"]).query == urlsplit(told.store).query
        assert not list(told.folder.glob("**/*.db"))

    def test_the_password_is_not_shown(self, told: Told) -> None:
        assert str(urlsplit(told.store).password) not in told.text

    def test_a_schema_with_a_ledger_is_not_touched(self, told: Told, tmp_path: Path) -> None:
        assert told.store is not None
        assert "already" in refused(tmp_path, "--store", told.store)

    def test_a_role_that_may_make_no_schema_is_told_first(self, told: Told, tmp_path: Path) -> None:
        url = f"{told.store}x%20-crole%3D{ROLE_WITHOUT_RIGHTS}"
        assert "this role may not" in refused(tmp_path, "--store", url)
