"""`audit init` and `emit` with a store in PostgreSQL."""

import os

import pytest

from audit.capture.delivery.embedded import open_for_writing
from audit.errors import InvalidInput
from tests.cli.conftest import Cli
from tests.services.postgres import PostgresServer


def with_password(url: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    user, _, place = rest.rpartition("@")
    name = user.partition(":")[0] or os.environ.get("USER", "postgres")
    return f"{scheme}://{name}:{password}@{place}"


def test_no_password_is_in_what_is_said(postgres_server: PostgresServer, cli: Cli) -> None:
    store = with_password(postgres_server.new_database(), "hunter2")
    made = cli("init", "--store", store, "--origin", "test.example/prod", "--json").json
    assert made["created"] is True and "hunter2" not in str(made)
    again = cli("init", "--store", store)
    assert "already there" in again.err and "hunter2" not in again.err
    told = cli("emit", "create", "user", "5", "{}", "--store", store, "--json").json
    assert told["log"] == 0
    with pytest.raises(InvalidInput, match="already holds the ledger") as error:
        open_for_writing(store, origin="other")
    assert "hunter2" not in str(error.value)
