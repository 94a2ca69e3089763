"""Decode: what was fetched becomes what a log can seal; nothing is dropped, whatever it is.

A message that cannot be what it should be becomes a QUARANTINED draft with its bytes and a reason.
Only what cannot be judged now - the schema registry or the blob store does not answer - is left:
it is tried again, and nothing behind it in its partition goes ahead of it.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from audit.errors import FormatError, LimitExceeded, Unavailable
from audit.kafka.transport import Fetched
from audit.log.entry import MAX_EVENT_IN_LEAF_BYTES, SIGNATURE_BYTES, SourceSpan
from audit.log.intake import UNDECODABLE_REASON, Incoming, Message, quarantine
from audit.log.oversize import oversize_event
from audit.log.plain import accept_event
from audit.store.blobs import BlobStore
from consumers.sequencer import origin_of
from consumers.settings import Signatures
from consumers.signatures import PinnedProducers

if TYPE_CHECKING:
    from audit.kafka.registry import RegistryFraming

TOMBSTONE_REASON = "TOMBSTONE"
OVERSIZE_REASON = "OVERSIZE"


DECODE_WITHIN_S = 2.0
"""How long a slow registry may hold up the thread that polls; the rest is decoded the next time."""


class Decoder:
    """Decodes the messages of one topic. One thread uses it."""

    def __init__(
        self,
        topic: str,
        blobs: BlobStore,
        *,
        signatures: Signatures = Signatures.RECORD,
        pinned: PinnedProducers | None = None,
        ledger_origin: str = "",
        framing: "RegistryFraming | None" = None,
    ) -> None:
        """`pinned` is needed where signatures are required, and `ledger_origin` to know the logs
        that its lines name; `framing` where there is a registry."""
        self._topic = topic
        self._blobs = blobs
        self._keep = signatures is not Signatures.IGNORE
        self._pinned = pinned if signatures is Signatures.REQUIRE else None
        self._ledger_origin = ledger_origin
        self._framing = framing
        self._plain = self._keep and self._pinned is None and framing is None

    def decode(
        self,
        partition: int,
        messages: Sequence[Fetched],
        into: list[Incoming],
        indexes: tuple[int, int] = (0, 0),
    ) -> None:
        """Add one Incoming to `into` for each message, in order.

        `indexes`: the lowest and the highest at which the first of them can be sealed. Raises
        Unavailable when one cannot be judged now: those before it are in `into` already.
        """
        if not self._plain:
            self._decode_slowly(partition, messages, into, indexes)
            return
        topic, add, new = self._topic, into.append, tuple.__new__
        for offset, key, value, signature in messages:
            span = new(SourceSpan, (topic, partition, offset, offset + 1))
            if value is None or len(value) > MAX_EVENT_IN_LEAF_BYTES:
                add(self._odd(key, value, signature, span))
            else:
                add(accept_event(value, signature, span))

    def _decode_slowly(
        self,
        partition: int,
        messages: Sequence[Fetched],
        into: list[Incoming],
        indexes: tuple[int, int],
    ) -> None:
        if self._pinned is not None:
            self._pinned.look()
        lowest, highest = indexes
        origin = origin_of(self._ledger_origin, self._topic, partition)
        before = len(into)
        until_s = time.monotonic() + DECODE_WITHIN_S
        for offset, key, value, signature in messages:
            if self._framing is not None and time.monotonic() > until_s:
                raise Unavailable(
                    f"{len(into) - before} messages took {DECODE_WITHIN_S:.0f} s to decode: the "
                    "schema registry is slow, or is asked for many ids; the rest comes next"
                )
            kept = signature if self._keep else None
            span = SourceSpan(self._topic, partition, offset, offset + 1)
            if value is None or len(value) > MAX_EVENT_IN_LEAF_BYTES:
                into.append(self._odd(key, value, kept, span))
                continue
            item = self._unframed(value, kept, span)
            if self._pinned is not None:
                last = highest + len(into) - before
                item = self._pinned.judged(item, origin, lowest, last)
            into.append(item)

    def _unframed(self, value: bytes, signature: bytes | None, span: SourceSpan) -> Incoming:
        if self._framing is None:
            return accept_event(value, signature, span)
        try:
            event = self._framing.decode(value)
        except (FormatError, LimitExceeded) as error:
            message = Message(value, signature, span)
            return self._quarantined(message, f"{UNDECODABLE_REASON}: {error}")
        if len(event) > MAX_EVENT_IN_LEAF_BYTES:
            return self._oversize(event, signature, span)
        return accept_event(event, signature, span)

    def _odd(
        self, key: bytes | None, value: bytes | None, signature: bytes | None, span: SourceSpan
    ) -> Incoming:
        if value is not None:
            return self._oversize(value, signature, span)
        reason = f"{TOMBSTONE_REASON}: a message without a value; its key is kept"
        if key is not None and len(key) > MAX_EVENT_IN_LEAF_BYTES:
            return self._oversize(key, signature, span, f"{reason}; ")
        return self._quarantined(Message(key or b"", signature, span), reason)

    def _oversize(
        self, data: bytes, signature: bytes | None, span: SourceSpan, before: str = ""
    ) -> Incoming:
        # The blob is durable before the entry that names it.
        digest = self._blobs.put(data)
        reason = f"{before}{OVERSIZE_REASON}: {len(data)} bytes, {digest} in the blob store"
        return self._quarantined(Message(oversize_event(data), signature, span), reason)

    def _quarantined(self, message: Message, reason: str) -> Incoming:
        if message.signature is not None and len(message.signature) != SIGNATURE_BYTES:
            message = message._replace(signature=None)
        return quarantine(message, reason)
