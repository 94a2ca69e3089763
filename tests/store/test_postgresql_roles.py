"""The roles of deploy/roles.sql: the writer appends, the auditor reads, and neither does more."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from audit.errors import AuditError, InvalidInput
from audit.store import open_reader, open_store
from audit.verify.policy import Policy
from audit.verify.verifier import verify
from tests.backends import ORIGIN, PostgresqlBackend, messages, signer_of, user_url
from tests.contract.check import check_log
from tests.services.postgres import PostgresServer

SIGNER = signer_of()
PARTITION = signer_of(f"{ORIGIN}/topic/0", bytes(reversed(range(32))))
TABLES = ["entries", "tiles", "checkpoints", "logs", "schema_versions"]


class Place(NamedTuple):
    """A schema with its roles, and the ledger in it made by its owner."""

    superuser: PostgresqlBackend
    owner: str
    writer: str
    auditor: str
    script: str


@pytest.fixture(scope="module")
def place(postgres_server: PostgresServer, repository: Path) -> Iterator[Place]:
    """Made as the file says: it is run, then the owner makes the ledger."""
    backend = PostgresqlBackend(postgres_server.new_database())
    names = {role: f"{backend.schema}_{role}" for role in ("owner", "writer", "auditor")}
    script = (repository / "deploy" / "roles.sql").read_text()
    script = re.sub(r"\baudit_(owner|writer|auditor)\b", rf"{backend.schema}_\1", script)
    script = re.sub(r"\bpublic\b(?=\.|'|\n|\s+(?:FROM|TO|GRANT))", backend.schema, script)
    backend.sql(script)
    urls = {role: user_url(backend.url, name) for role, name in names.items()}
    try:
        with open_store(urls["owner"], create=True) as store:
            store.create(ORIGIN, SIGNER)
    except InvalidInput as error:  # a given server that wants passwords
        pytest.skip(str(error))
    yield Place(backend, urls["owner"], urls["writer"], urls["auditor"], script)
    backend.sql(f"DROP SCHEMA {backend.schema} CASCADE")
    for name in names.values():
        backend.sql(f"DROP OWNED BY {name}")
        backend.sql(f"DROP ROLE {name}")
    backend.close()


def refused(url: str, *statements: str) -> None:
    """Each statement fails for want of the right to it."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_the_writer_appends_opens_logs_and_claims_them(place: Place) -> None:
    with open_store(place.writer) as store:
        start = store.size(0)
        store.append(0, messages(start, start + 300), SIGNER)
        store.open_log(1, PARTITION.name, PARTITION)
        epoch = store.claim(1).epoch
        assert store.claim(1).epoch == epoch + 1
        check_log(store, SIGNER.verifier)
        check_log(store, PARTITION.verifier, 1)
        assert store.warnings() == store.defects() == store.index_defects() == []


def test_the_writer_changes_nothing(place: Place) -> None:
    for table in TABLES:
        refused(
            place.writer,
            f"DELETE FROM {table}",
            f"TRUNCATE {table}",
            f"SELECT * FROM {table} FOR UPDATE",
            f"ALTER TABLE {table} DISABLE TRIGGER ALL",
            f"DROP TRIGGER {table}_append_only ON {table}",
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"CREATE RULE mine AS ON INSERT TO {table} DO INSTEAD NOTHING",
            f"DROP TABLE {table}",
        )
        with psycopg.connect(place.writer) as connection:
            columns = connection.execute(f"SELECT * FROM {table} LIMIT 0".encode()).description
        for column in columns or ():
            refused(place.writer, f'UPDATE {table} SET "{column.name}" = "{column.name}"')
    refused(
        place.writer,
        "SET session_replication_role = replica",
        "DELETE FROM leases",
        "TRUNCATE leases",
        "CREATE TABLE mine (a int)",
        "CREATE OR REPLACE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
    )


def test_the_auditor_reads_and_verifies(place: Place) -> None:
    with open_store(place.writer) as store:
        start = store.size(0)
        store.append(0, messages(start, start + 3), SIGNER)
        store.open_log(1, PARTITION.name, PARTITION)
    policy = Policy.from_vkeys([SIGNER.verifier.vkey, PARTITION.verifier.vkey])
    with open_reader(place.auditor, sound=True) as reader:
        report = verify(reader, policy)
        assert report.ok, report.to_json()
        assert report.warnings == ()
        assert len(list(reader.entity(0, "thing"))) >= 3


def test_the_auditor_does_nothing_else(place: Place) -> None:
    for table in [*TABLES, "leases"]:
        refused(
            place.auditor,
            f"INSERT INTO {table} SELECT * FROM {table}",
            f"DELETE FROM {table}",
            f"TRUNCATE {table}",
            f"SELECT * FROM {table} FOR UPDATE",
            f"DROP TABLE {table}",
        )
    refused(place.auditor, "CREATE TABLE mine (a int)", "UPDATE leases SET epoch = 9")
    with open_store(place.auditor) as store, pytest.raises(AuditError, match="may not do that"):
        store.append(0, messages(0, 1), SIGNER)


def test_rights_that_are_too_much_are_warned_of_and_taken_back(place: Place) -> None:
    role = f"{place.superuser.schema}_writer"
    place.superuser.sql(f"GRANT UPDATE, DELETE ON entries TO {role}")
    with open_reader(place.auditor) as reader:
        assert reader.warnings() == [
            ("guard_open", f"{role} has the right to {right} on entries")
            for right in ("DELETE", "UPDATE")
        ]
    place.superuser.sql(place.script)
    with open_reader(place.auditor) as reader:
        assert reader.warnings() == []
    test_the_writer_appends_opens_logs_and_claims_them(place)
    test_the_writer_changes_nothing(place)


def test_row_level_security_is_an_error_to_whom_it_would_hide_rows(place: Place) -> None:
    place.superuser.sql("ALTER TABLE entries ENABLE ROW LEVEL SECURITY")
    try:
        with open_reader(place.auditor) as reader:
            assert "schema_changed" in {code for code, _ in reader.defects()}
            with pytest.raises(InvalidInput, match="row-level security"):
                reader.size(0)
    finally:
        place.superuser.sql("ALTER TABLE entries DISABLE ROW LEVEL SECURITY")
