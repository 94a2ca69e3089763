"""The services as fixtures; tests/conftest.py hands them to every test."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

import pytest

from tests.services import kafka, postgres, shared
from tests.services.kafka import KafkaServer
from tests.services.postgres import PostgresServer
from tests.services.process import Unobtainable
from tests.services.registry import RegistryServer, SharedRegistry

REQUIRE_SERVICES = "AUDIT_REQUIRE_SERVICES"
SETTINGS = frozenset({kafka.GIVEN, postgres.GIVEN})

used: dict[str, None] = {}
"""Which servers this run used, in the order of their first use."""

Server = TypeVar(
    "Server", KafkaServer, PostgresServer, RegistryServer, RegistryServer | SharedRegistry
)


def give_up(reason: str) -> NoReturn:
    """Skip the test, or in continuous integration fail it."""
    if os.environ.get(REQUIRE_SERVICES) == "1":
        pytest.fail(f"{reason}, and {REQUIRE_SERVICES}=1 forbids to skip", pytrace=False)
    pytest.skip(reason)


@contextmanager
def running(obtain: Callable[[], Server]) -> Iterator[Server]:
    """The server for as long as the block lasts."""
    reason = ""
    try:
        server = obtain()
    except Unobtainable as error:
        reason = str(error)
    if reason:  # outside the handler: the error itself would add nothing but length
        give_up(reason)
    try:
        yield server
    finally:
        server.close()


def refuse_given(variable: str) -> None:
    """What somebody gave us is not ours to stop."""
    if variable in os.environ:
        give_up(f"this test stops its server, and {variable} names one that is not ours")


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[KafkaServer]:
    """The broker that all tests share: topics and groups of your own, and never stop it."""
    with running(shared.obtain_kafka) as server:
        used.setdefault(server.description)
        yield server


@pytest.fixture
def private_kafka() -> Iterator[KafkaServer]:
    """A started broker of this test's own, to be stopped, killed and started again."""
    refuse_given(kafka.GIVEN)
    with running(lambda: kafka.obtain(private=True)) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The database server that all tests share: ask it for a `new_database()`."""
    with running(postgres.obtain) as server:
        used.setdefault(server.description)
        yield server


@pytest.fixture
def private_postgres() -> Iterator[PostgresServer]:
    """A started database server of this test's own, with fsync, to be stopped and killed."""
    refuse_given(postgres.GIVEN)
    with running(lambda: postgres.obtain(durable=True)) as server:
        yield server


@pytest.fixture(scope="session")
def registry_server() -> Iterator[RegistryServer | SharedRegistry]:
    """The schema registry that all tests share: subjects of your own, and never stop it."""
    with running(shared.obtain_registry) as server:
        used.setdefault(server.description)
        yield server
