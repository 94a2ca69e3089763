"""Recording a quarantined message after all, once what was wrong is mended; see `audit.log.retry`.

What can be mended: bytes that this release, or the schema registry by now, can read; a signature
whose key the policy pins by now. What cannot: an event id that belongs to another event, a type
that is the ledger's own, a message that is too large, a tombstone: said with what to do instead.
"""

import os
from typing import TYPE_CHECKING, NamedTuple

from audit.capture.delivery.embedded import EmbeddedLedger
from audit.capture.delivery.producers import BAD_SIGNATURE, UNKNOWN, UNSIGNED, ProducerKeys
from audit.errors import AuditError, FormatError, InvalidInput, LimitExceeded
from audit.event.envelope import Event, decode_event, same_event
from audit.event.types import SCHEMA
from audit.log.entry import Kind
from audit.log.intake import (
    CONFLICT_REASON,
    LEDGER_SOURCE,
    RESERVED_REASON,
    SIGNATURE_REASON,
    Message,
    accept,
)
from audit.log.record import Record, read_record
from audit.log.retry import (
    REGISTRY_MAGIC,
    RETRIED_TYPE,
    Retried,
    parse_retried,
    retried_event,
    retried_id,
)
from audit.store.contract import Reader, Status
from audit.verify.policy import Policy

if TYPE_CHECKING:
    from audit.kafka.registry import RegistryFraming

REGISTRY_VARIABLE = "AUDIT_REGISTRY"
DEFAULT_TOPIC = "audit.events"
SIGNATURE_REQUIRED = "SIGNATURE_REQUIRED"

_REFUSED = {
    CONFLICT_REASON: "its event id belongs to another event: emit what it says under a new id, with"
    " --supersedes where it corrects that one",
    RESERVED_REASON: "only the ledger itself may say that; it stays what it is",
    SIGNATURE_REASON: "what came as its signature was none and is not kept: have it sent again",
    "OVERSIZE": "it does not fit an entry; its bytes are in the blob store under the digest in the"
    " reason: have it sent again with large values in the blob store",
    "TOMBSTONE": "a message without a value says nothing: emit a delete of that key",
}
"""Reason code -> why it cannot be retried, and what to do instead."""


class Outcome(NamedTuple):
    """What became of one quarantined entry. `event_index`: where it stands now, None: nowhere."""

    log: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    event_index: int | None
    words: str


def retried_as(reader: Reader, log: int, index: int) -> int | None:
    """Index of the event that a quarantined entry was retried as; None: it was not.

    The link's event id names the entry, so that it is looked up.
    """
    for there, place in reader.find_event(retried_id(index), LEDGER_SOURCE):
        if there != log:
            continue
        record = read_record(log, reader.leaf(log, place))
        event = record.event
        if event is None or event.type != RETRIED_TYPE or record.entry.kind is not Kind.CONTROL:
            continue
        try:
            link = parse_retried(event)
        except FormatError:
            continue  # `audit verify` names it
        if link.index == index:
            return link.event_index
    return None


class RetriedEntries:
    """Which quarantined entries were retried."""

    def __init__(self, reader: Reader) -> None:
        """Each is looked up when it is asked for."""
        self._reader = reader

    def of(self, record: Record) -> int | None:
        """Index of the event that an entry was retried as."""
        return retried_as(self._reader, record.log, record.index)


class Retrier:
    """Retries entries of one ledger.

    `policy`: whose producers' keys count. `require_signature`: take no event without a signature
    that holds, as consumers do with `--signatures require`. `reason` stands in the link.
    """

    def __init__(
        self,
        ledger: EmbeddedLedger,
        policy: Policy | None,
        reason: str | None = None,
        require_signature: bool = False,
    ) -> None:
        self._ledger = ledger
        self._keys = ProducerKeys(policy if policy is not None else Policy(), ledger.store)
        self._keys.look_at_log()
        self._reason = reason
        self._require = require_signature
        self._framings: dict[str, RegistryFraming] = {}

    def retry(self, record: Record) -> Outcome:
        """Retry one entry; a refusal is an outcome too.

        Raises InvalidInput for an entry that is not quarantined, and Unavailable, StoreBusy,
        StoreCorrupt: then nothing was recorded, or what was recorded is found by trying again.
        """
        if record.event is not None:
            raise InvalidInput(f"entry {record.log}/{record.index} is not quarantined")
        log, index = record.log, record.index
        known = retried_as(self._ledger.store, log, index)
        if known is not None:
            return Outcome(log, index, known, f"was retried before, as entry {log}/{known}")
        message = self._mended(record)
        if isinstance(message, str):
            return Outcome(log, index, None, message)
        return self._record(record, message)

    def _mended(self, record: Record) -> Message | str:
        """The message as it can be recorded now, or why it cannot."""
        entry = record.entry
        code = (entry.reason or "").partition(":")[0]
        if code in _REFUSED:
            return _REFUSED[code]
        try:
            event = self._unframed(record)
        except (FormatError, LimitExceeded) as error:
            return f"it still cannot be read: {error}"
        message = Message(event, entry.signature)
        incoming = accept(message)
        if incoming.is_quarantined:
            return f"it is still refused: {incoming.draft.reason}"
        decoded = decode_event(event)
        fault = self._signature_fault(record, message, decoded, code == SIGNATURE_REQUIRED)
        return message if fault is None else fault

    def _unframed(self, record: Record) -> bytes:
        """The event in quarantined bytes, without a registry's framing. Raises Unavailable."""
        data = record.entry.event
        if data[:1] != REGISTRY_MAGIC:
            return data
        url = _registry_url()
        if url is None:
            raise FormatError(f"it is framed by a schema registry: set {REGISTRY_VARIABLE}")
        from audit.kafka.registry import Registry, RegistryFraming

        source = record.entry.source
        topic = DEFAULT_TOPIC if source is None else source.topic
        if topic not in self._framings:
            self._framings[topic] = RegistryFraming(Registry(url), topic)
        return self._framings[topic].decode(data)

    def _signature_fault(
        self, record: Record, message: Message, event: Event, required: bool
    ) -> str | None:
        if event.type == SCHEMA or not (required or self._require):
            return None
        store, log = self._ledger.store, record.log
        origin = next(info.origin for info in store.logs() if info.log == log)
        index = store.size(log)
        words = self._keys.fault(message.event, message.signature, origin, index, index)
        if words == UNSIGNED:
            return "it is not signed, and a signature is required: have it sent again, signed"
        if words == BAD_SIGNATURE:
            return "its signature does not hold: nothing can mend that"
        if words == UNKNOWN:
            return "the policy pins no key of it: add the producer's line to it, if that is right"
        if words is None:
            return None
        return (
            f"{words}\nif it was ended by mistake, say `audit key register`, and pin what it prints"
        )

    def _record(self, record: Record, message: Message) -> Outcome:
        """Seal the event, then the link to it."""
        store, log, index = self._ledger.store, record.log, record.index
        event = decode_event(message.event)
        if self._other_event(log, event, message.event):
            return Outcome(log, index, None, _REFUSED[CONFLICT_REASON])
        outcome = self._ledger.append([message], log).outcomes[0]
        if outcome.status in (Status.CONFLICT, Status.QUARANTINED):
            return Outcome(log, index, None, f"refused again, as entry {log}/{outcome.index}")
        link = Retried(index, record.leaf_hash, outcome.index)
        store.append_control(log, [retried_event(link, self._reason)], self._ledger.signer(log))
        place = f"{log}/{outcome.index}"
        if outcome.status is Status.DUPLICATE:
            return Outcome(log, index, outcome.index, f"was recorded meanwhile as entry {place}")
        return Outcome(log, index, outcome.index, f"recorded as entry {place}")

    def _other_event(self, log: int, event: Event, data: bytes) -> bool:
        """Whether the log has another event under this id."""
        store = self._ledger.store
        for there, index in store.find_event(event.event_id, event.source):
            entry = read_record(log, store.leaf(log, index)).entry if there == log else None
            if entry is not None and not same_event(entry.event, data):
                return True
        return False


def _registry_url() -> str | None:
    """The registry of AUDIT_REGISTRY, else of the topic that AUDIT_BUS names."""
    named = os.environ.get(REGISTRY_VARIABLE)
    if named:
        return named
    from audit.kafka.address import KAFKA_SCHEME, parse_address
    from audit.ledger.sources import BUS_VARIABLE

    bus = os.environ.get(BUS_VARIABLE, "")
    try:
        return parse_address(bus).registry if bus.startswith(KAFKA_SCHEME) else None
    except AuditError:
        return None
