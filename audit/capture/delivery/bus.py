"""What an emitter's address leads to: a ledger that it appends to itself, or a Kafka topic."""

import os
from collections.abc import Callable, Set
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from audit.capture.delivery.destination import Destination, LedgerDestination
from audit.capture.delivery.embedded import EmbeddedLedger, open_for_writing
from audit.errors import InvalidInput
from audit.event.canonical import PAYLOAD_BUILTINS, builtin
from audit.kafka.address import KAFKA_SCHEME, KafkaAddress, parse_address
from audit.store import store_folder

if TYPE_CHECKING:
    from audit.capture.delivery.kafka_sender import KafkaSender

ENV_SPOOL = "AUDIT_SPOOL"
ENV_STORE = "AUDIT_STORE"
ENV_STATE = "XDG_STATE_HOME"
SPOOL_FOLDER = "audit-spool"
STATE_FOLDER = "attestory"
"""Ours in the user's state folder (XDG Base Directory Specification)."""
STATE_SPOOL = "spool"

Schemas = tuple[bytes, ...]


class Bus(Protocol):
    """Where an emitter puts events.

    `folder`: of the spool. `store`: the ledger in which the current state of rows is found, if it
    is known. `settles`: while it is away, the spool on disk is as good as it gets, and no error.
    `known`: the schemas that every reader has. `in_each_file`: others stand in each spool file
    before the first event there that needs them, for whoever drains it.
    """

    folder: Path
    store: str | None
    settles: bool
    known: Set[Schemas]
    in_each_file: bool

    def destination(self) -> Destination:
        """A new one for this process."""
        ...

    def close(self) -> None:
        """Close what no destination closes."""
        ...


class LedgerBus:
    """The store itself is the bus: no broker."""

    settles = False
    known: Set[Schemas] = frozenset({()})
    in_each_file = False

    def __init__(self, url: str, folder: Path, ledger: EmbeddedLedger) -> None:
        """Nothing is started yet."""
        self.store: str | None = url
        self.folder = folder
        self._ledger = ledger

    def destination(self) -> Destination:
        """The ledger; a forked child goes on with it, for the parent closed its connections."""
        return LedgerDestination(self._ledger)

    def close(self) -> None:
        """Close the store."""
        self._ledger.close()


class KafkaBus:
    """A topic; a consumer seals what is there."""

    in_each_file = True

    def __init__(self, address: KafkaAddress, folder: Path, store: str | None, settles: bool):
        """Nothing is connected yet."""
        self.folder = folder
        self.store = store
        self.settles = settles
        self.known: Set[Schemas] = {(), *((builtin(name),) for name in PAYLOAD_BUILTINS)}
        self._address = address
        self._first: KafkaSender | None = None

    def connect(self) -> None:
        """Return when a broker answered and has the topic. Raises Unavailable, InvalidInput."""
        self._first = self._sender()
        self._first.connect()

    def destination(self) -> Destination:
        """The connection made before, else a new one."""
        first, self._first = self._first, None
        return self._sender() if first is None else first

    def _sender(self) -> "KafkaSender":
        from audit.capture.delivery.kafka_sender import KafkaSender

        return KafkaSender(self._address)

    def close(self) -> None:
        """Close a connection that nobody took over."""
        if self._first is not None:
            self._first.close()


def is_kafka(bus: str) -> bool:
    """True for the address of a topic."""
    return bus.startswith(KAFKA_SCHEME)


def open_bus(
    url: str,
    spool: str | os.PathLike[str] | None = None,
    store: str | None = None,
    refuse: bool = False,
    ledger_key: str | os.PathLike[str] | None = None,
    passphrase: str | bytes | None = None,
    clock: Callable[[], int] | None = None,
) -> Bus:
    """The bus at an address; the arguments are those of `Emitter`.

    With `refuse` it does not settle, and a broker must answer now. Raises InvalidInput,
    Unavailable, StoreCorrupt.
    """
    if not is_kafka(url):
        if store is not None and store != url:
            raise InvalidInput("store is for a bus of kafka://; another bus is the store itself")
        folder = spool_folder(url, spool)
        ledger = open_for_writing(url, key_path=ledger_key, passphrase=passphrase, clock=clock)
        return LedgerBus(url, folder, ledger)
    if ledger_key is not None or passphrase is not None:
        raise InvalidInput("with Kafka the ledger's key is the consumer's: leave it out")
    address = parse_address(url)
    store = store or os.environ.get(ENV_STORE) or None
    bus = KafkaBus(address, spool_folder(url, spool), store, not refuse)
    if refuse:
        bus.connect()
    return bus


def spool_folder(bus: str, given: str | os.PathLike[str] | None = None) -> Path:
    """Where events for a bus wait: the argument, AUDIT_SPOOL, or the bus's own default.

    Beside the store; with Kafka, where nothing else lies on this machine, attestory/spool in the
    user's state folder. Raises InvalidInput.
    """
    named = given or os.environ.get(ENV_SPOOL)
    if named:
        return Path(named)
    if not is_kafka(bus):
        return store_folder(bus) / SPOOL_FOLDER
    return state_folder() / STATE_SPOOL


def state_folder() -> Path:
    """This library's place in the user's state folder. Raises InvalidInput."""
    state = Path(os.environ.get(ENV_STATE, ""))
    if not state.is_absolute():
        try:
            state = Path.home() / ".local" / "state"
        except RuntimeError:
            raise InvalidInput(
                f"this user has no home folder for the spool: say where with {ENV_SPOOL}"
            ) from None
    return state / STATE_FOLDER
