"""The emitter: one line in an application, and what happened is on its way into the ledger.

An event survives the death of the process once the call returned: it is in the spool. It survives a
power cut once `flush` returned: it is sealed in the store, or acknowledged by the broker, or, while
the broker is away, in a spool that is on the disk.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack
from uuid import uuid4

from audit.capture.context import current
from audit.capture.delivery import processes
from audit.capture.delivery.bus import open_bus
from audit.capture.delivery.embedded import passphrase_of
from audit.capture.delivery.sealer import Sealer
from audit.capture.options import Options, envelope, json_defaults
from audit.errors import AuditError, InvalidInput, Unavailable
from audit.event.build import Built, data_event, new_event_id, record_event, schema_event
from audit.event.envelope import Event, encode_event
from audit.event.schema import DeclaredSchema, declare
from audit.event.types import DATA_TYPES, RECORD_TYPES
from audit.store import clock_us
from audit.store.contract import Status
from audit.tlog.keyfile import read_key
from audit.tlog.keys import Ed25519Signer, Signer

if TYPE_CHECKING:
    import pandas

    from audit.capture.frames import FrameResult

DEFAULT_SOURCE = "app"

EMITTED_TYPES = DATA_TYPES | RECORD_TYPES
"""What an application may say; the rest is the log's own, or sent by itself when needed."""

_log = logging.getLogger("audit.capture")


class Emitter:
    """Emits events into a ledger, or through Kafka. Safe for threads, and usable after a fork.

    Every emitting method returns the event's id, and raises InvalidInput or LimitExceeded for what
    cannot be recorded (naming the field), Unavailable when the event cannot be kept safe.
    """

    def __init__(
        self,
        bus: str,
        source: str | None = None,
        key: str | os.PathLike[str] | Signer | None = None,
        *,
        durable: bool = False,
        spool: str | os.PathLike[str] | None = None,
        ledger_key: str | os.PathLike[str] | None = None,
        passphrase: str | bytes | None = None,
        schemas: Mapping[str, Any] | None = None,
        clock: Callable[[], int] | None = None,
        on_unavailable: Literal["spool", "raise"] = "spool",
        store: str | None = None,
    ) -> None:
        """Open the bus: a ledger (sqlite:///..., postgresql://..., made where it is missing) or a
        topic (kafka://host:9092/topic), whose consumer seals the events.

        `source` names this application in every event (default "app"). `key`: file or signer of the
        producer key that signs each event. `durable`: each call flushes. `spool`: folder of the
        spool (default AUDIT_SPOOL, else audit-spool/ beside the store, or with Kafka
        attestory/spool in the user's state folder). `ledger_key`, `passphrase`: the ledger's own
        key, see `open_for_writing`. `schemas`: entity type -> declared Avro schema. `clock`:
        microseconds since the epoch. `on_unavailable`: "spool" keeps events while the ledger or
        the broker cannot be reached, "raise" refuses new ones then; a broker must then answer now.
        `store`: with Kafka the ledger in which `frame` finds the current state (default
        AUDIT_STORE). Raises InvalidInput, Unavailable, StoreCorrupt.
        """
        if on_unavailable not in ("spool", "raise"):
            raise InvalidInput('on_unavailable is "spool" or "raise"')
        self._sealer: Sealer | None = None
        self._counted: Sealer | None = None  # stays to be asked after `close`
        self._starting = threading.Lock()
        self.bus = bus
        self.source = DEFAULT_SOURCE if source is None else source
        self._durable = durable
        self._refuse = on_unavailable == "raise"
        self.clock = clock_us if clock is None else clock
        self._signer = self._producer(key)
        self._declared: dict[str, DeclaredSchema] = {}
        for entity, schema in (schemas or {}).items():
            self.declare(entity, schema)
        self._closed = False
        self._bus = open_bus(bus, spool, store, self._refuse, ledger_key, passphrase, clock)
        try:
            self._start()
        except BaseException:
            self._bus.close()
            raise

    def _producer(self, key: str | os.PathLike[str] | Signer | None) -> Signer | None:
        if key is None or not isinstance(key, str | os.PathLike):
            return key
        name, seed = read_key(key, passphrase_of(None))
        return Ed25519Signer.from_seed(self.source if name is None else name, seed)

    def _start(self) -> Sealer:
        """Begin as a new producer: at the start, and again in a forked child."""
        self._producer_id = str(uuid4())
        self._sequence = 0
        # Schemas go again from each producer: this one's events may be all that ever arrives.
        self._sent: set[tuple[bytes, ...]] = set(self._bus.known)
        self._generation = 0
        bus = self._bus
        sealer = Sealer(bus.destination(), bus.folder, self._producer_id, bus.settles)
        self._sealer = self._counted = sealer
        processes.watch(self, sealer)
        return sealer

    def _live(self) -> Sealer:
        if self._closed:
            raise InvalidInput("the emitter is closed; make a new one")
        sealer = self._sealer
        if sealer is None:
            with self._starting:
                sealer = self._sealer or self._start()
        return sealer

    def create(
        self, entity: str, key: Any, row: Mapping[str, Any], **options: Unpack[Options]
    ) -> str:
        """A new row. `key` is a string, an integer, or a list of them."""
        return self._change("create", entity, key, None, row, "full", options)

    def update(
        self,
        entity: str,
        key: Any,
        changes: Mapping[str, Any],
        *,
        full: bool = False,
        before: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> str:
        """Changed fields, or with `full` the whole row: then fields that are not in it are gone.

        `before` holds what the fields were; where the log knows better that is found as drift.
        """
        image = "full" if full else "patch"
        return self._change("update", entity, key, before, changes, image, options)

    def delete(
        self,
        entity: str,
        key: Any,
        *,
        before: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> str:
        """The row is gone; `before` may hold its last values."""
        return self._change("delete", entity, key, before, None, "patch", options)

    def truncate(self, entity: str, **options: Unpack[Options]) -> str:
        """All rows of the dataset are gone."""
        return self._change("truncate", entity, None, None, None, "patch", options)

    def record(
        self,
        type: str,
        data: Mapping[str, Any],
        *,
        entity_type: str | None = None,
        entity_key: Any = None,
        **options: Unpack[Options],
    ) -> str:
        """A record that is no change of data: `prediction`, `model.run`, `review` and so on."""
        if not isinstance(type, str) or type not in RECORD_TYPES:
            raise InvalidInput(
                f"{type!r:.64} is no type of record: {', '.join(sorted(RECORD_TYPES))}"
            )
        fields = envelope(options, self.source, self.clock)
        return self.send(
            record_event(type, data, entity_type=entity_type, entity_key=entity_key, **fields)
        )

    def emit(self, event: Mapping[str, Any]) -> str:
        """An event in its JSON form (see `audit.event.jsonform`), as a dict."""
        from audit.event.jsonform import event_from_json

        if not isinstance(event, Mapping):
            raise InvalidInput(f"an event is a dict, not {type(event).__name__}")
        type_ = event.get("type")
        if not isinstance(type_, str) or type_ not in EMITTED_TYPES:
            listed = ", ".join(sorted(EMITTED_TYPES))
            raise InvalidInput(f"type {type_!r:.64} is not emitted by applications: {listed}")
        filled = {**json_defaults(self.clock), **event}
        return self.send(event_from_json(filled, source=self.source))

    def frame(
        self, entity: str, df: "pandas.DataFrame", *, key: Any = None, **options: Unpack[Options]
    ) -> "FrameResult":
        """Emit what differs between a pandas DataFrame and the dataset now, as one transaction.

        `key` is a column, a list of columns (they stay in the row), or None for the index. Rows
        that are not in the frame are deleted. A missing cell is null, and no difference where the
        row never had the field. Returns how many rows were created, updated, deleted, unchanged.
        With Kafka "now" is what the consumer has sealed in `store`.
        """
        from audit.capture.frames import emit_frame

        return emit_frame(self, entity, df, key, options)

    def declare(self, entity: str, schema: Any) -> None:
        """Declare the Avro schema (a record) of an entity type's rows: they must fit it now.

        Raises InvalidInput when the schema is not supported.
        """
        self._declared[entity] = declare(schema)

    def flush(self, timeout: float | None = None) -> None:
        """Return when all events so far are sealed in the store; `timeout` in seconds.

        With Kafka: when the broker acknowledged them; or, while it is away, when they are in the
        spool and on the disk, which a line in the log says (`waiting` tells). Raises Unavailable,
        StoreBusy or StoreCorrupt, saying how many events wait and where; with Kafka only where
        on_unavailable is "raise", or when the spool cannot be written.
        """
        self._live().flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Flush and end; the default `timeout` is none, with Kafka 20 seconds.

        Raises as `flush`; what then waits is delivered by the next writer.
        """
        if self._closed:
            return
        self._closed = True
        sealer, self._sealer = self._sealer, None
        if sealer is None:
            return self._bus.close()
        processes.forget(sealer)
        sealer.close(timeout)

    @property
    def producer_id(self) -> str:
        """The random id in this emitter's events, which their sequence numbers belong to."""
        return self._producer_id

    @property
    def store(self) -> str | None:
        """The ledger in which the current state of rows is found; None when it is not known."""
        return self._bus.store

    @property
    def delivered(self) -> int:
        """How many events the store took, or the broker acknowledged, schema events included."""
        return 0 if self._counted is None else self._counted.delivered

    @property
    def sealed(self) -> int:
        """How many events the store took, schema events included.

        With Kafka only the consumer knows: this and the next three stay 0, see `delivered`.
        """
        return self._count(Status.SEALED)

    @property
    def duplicates(self) -> int:
        """How many events were in the store already and were dropped."""
        return self._count(Status.DUPLICATE)

    @property
    def conflicts(self) -> int:
        """How many events have the id of another one; they are sealed as QUARANTINED."""
        return self._count(Status.CONFLICT)

    @property
    def quarantined(self) -> int:
        """How many messages could not be decoded; they are sealed as QUARANTINED."""
        return self._count(Status.QUARANTINED)

    @property
    def waiting(self) -> int:
        """How many events are in the spool and not yet sealed, or acknowledged by the broker."""
        return 0 if self._counted is None else self._counted.backlog.waiting

    def _count(self, status: Status) -> int:
        return 0 if self._counted is None else self._counted.counts[status]

    def __enter__(self) -> Self:
        """The emitter itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close. What the block itself raised is not hidden by what closing raises."""
        try:
            self.close()
        except AuditError as closing:
            if error is None:
                raise
            _log.error("%s", closing)

    def _change(
        self,
        op: str,
        entity: str,
        key: Any,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
        image: str,
        options: Options,
    ) -> str:
        declared = self._declared.get(entity) if self._declared else None
        if options:
            fields = envelope(options, self.source, self.clock)
            return self.send(
                data_event(
                    op, entity, key, before=before, after=after, image=image, declared=declared,
                    **fields,
                )
            )  # fmt: skip
        # The same without options, written out: the dict in between takes as long as the encoding.
        actor, reason, transaction, request_id, trace_id, valid_us, _ = current()
        return self.send(
            data_event(
                op,
                entity,
                key,
                event_id=new_event_id(),
                source=self.source,
                before=before,
                after=after,
                image=image,
                declared=declared,
                valid_time_us=self.clock() if valid_us is None else valid_us,
                actor=actor,
                reason=reason,
                transaction_id=transaction,
                request_id=request_id,
                trace_id=trace_id,
            )
        )

    def send(self, built: Built) -> str:
        """An event that `audit.event.build` made; its number is filled in here."""
        sealer = self._live()
        if self._refuse and sealer.error is not None:
            raise Unavailable(f"not emitted: {sealer.error}")
        event, schemas = built
        # One lock from number to file: events stand in the spool in the order of their numbers,
        # and a number is used up only when its event is safe there.
        backlog = sealer.backlog
        with backlog.lock:
            generation = backlog.prepare()
            if generation != self._generation:
                self._generation = generation
                if self._bus.in_each_file:
                    self._sent = set(self._bus.known)
            if schemas not in self._sent:
                for canonical in schemas:
                    sealer.put(None, _schema_bytes(canonical), None)
                self._sent.add(schemas)
            sequence = self._sequence
            data = encode_event(Event._make((*event[:-2], self._producer_id, sequence)))
            # Signed here and not in the background: an event in the spool must survive its process
            # with its signature, for whoever seals it later does not have the producer's key.
            signature = None if self._signer is None else self._sign(data)
            count = backlog.put_count
            try:
                sealer.put(sequence, data, signature)
            finally:
                # Even if the user's Ctrl-C comes between the file and the next line.
                self._sequence += backlog.put_count - count
        if self._durable:
            sealer.flush(again=False, say_always=False)
        return event.event_id

    def _sign(self, data: bytes) -> bytes:
        from audit.event.signing import sign_event

        assert self._signer is not None
        return sign_event(data, self._signer)

    def _forked(self) -> None:
        """In a forked child: begin as a new producer with the next event."""
        self._sealer = self._counted = None
        self._starting = threading.Lock()


@lru_cache(maxsize=64)
def _schema_bytes(canonical: bytes) -> bytes:
    """The event that brings a schema, as bytes: each spool file may need it anew."""
    return encode_event(schema_event(canonical))
