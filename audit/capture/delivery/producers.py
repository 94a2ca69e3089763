"""Producers' signatures where they are required: which keys are good, and why an event's is not.

A key is good for an entry when the policy file pins it for that entry, and log 0, if it knows the
key, has not ended it. The policy alone can make a key good; either can end it: so `audit key
revoke` counts at once, whoever forgets to change the policy. Both are looked at again every second.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from audit.capture.delivery.key_history import KeyHistory
from audit.errors import AuditError, InvalidInput
from audit.event.signing import KEY_ID_BYTES, SIGNATURE_BYTES, SignatureCheck, check_event
from audit.event.types import SCHEMA
from audit.log.intake import Incoming, Message, quarantine
from audit.store.contract import Reader
from audit.verify.policy import Policy, ProducerKey

REQUIRED_REASON = "SIGNATURE_REQUIRED"
LOOK_EVERY_S = 1.0
"""How often the policy file and log 0 are looked at for changes."""

UNSIGNED = "it is not signed"
BAD_SIGNATURE = "its signature does not hold"
UNKNOWN = "it is signed with a key that the policy does not pin"

Range = tuple[int, int | None]

_log = logging.getLogger("audit.capture")


class ProducerKeys:
    """Which keys are good where: those of a policy, less what log 0 ended. One thread uses it."""

    def __init__(self, policy: Policy, reader: Reader | None) -> None:
        """`reader`: of the ledger, whose log 0 is read by `look_at_log`; None: the policy alone."""
        self._history = None if reader is None else KeyHistory(reader)
        self.pin(policy)

    def pin(self, policy: Policy) -> None:
        """Go by this policy from now on."""
        self._policy = policy
        self._in: dict[str, dict[bytes, list[ProducerKey]]] = {}

    def look_at_log(self) -> None:
        """Read what log 0 said since. Raises Unavailable."""
        if self._history is not None:
            self._history.look()

    def fault(
        self, event: bytes, signature: bytes | None, origin: str, first: int, last: int
    ) -> str | None:
        """Why this event is not signed as required, if so.

        It will be sealed in the log `origin` at an index from `first` to `last`, and a key must be
        good for them all: which of them it becomes is decided under the log's lock, when this was
        asked already.
        """
        if signature is None:
            return UNSIGNED
        if len(signature) != SIGNATURE_BYTES:
            return f"a signature has {SIGNATURE_BYTES} bytes"
        claimed = self._keys_in(origin).get(signature[:KEY_ID_BYTES], ())
        check, verifier = check_event(event, signature, [key.verifier for key in claimed])
        if check is SignatureCheck.INVALID:
            return BAD_SIGNATURE
        if verifier is None:
            return UNKNOWN
        lines = [key for key in claimed if key.verifier == verifier]
        name = lines[0].name
        pinned: list[Range] = [(line.first_index, line.last_index) for line in lines]
        words = _out_of(pinned, first, last)
        if words is not None:
            return f"the key of {name} is {words}, says the policy"
        known = [] if self._history is None else self._history.of(verifier)
        words = _out_of([key.range_in(origin) for key in known], first, last) if known else None
        return None if words is None else f"the key of {name} is {words}, says log 0"

    def _keys_in(self, origin: str) -> dict[bytes, list[ProducerKey]]:
        found = self._in.get(origin)
        if found is None:
            found = self._in[origin] = {}
            for key in self._policy.producers_in(origin):
                found.setdefault(key.verifier.key_id, []).append(key)
        return found


class PinnedProducers:
    """The same, of a policy file, looked at again while it is used. One thread uses it."""

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.monotonic,
        reader: Reader | None = None,
    ) -> None:
        """Read the file, and log 0 of `reader`.

        Raises NotFound, Unavailable, FormatError; InvalidInput when no key is pinned.
        """
        self._path = path
        self._clock = clock
        self._looked_s = clock()
        self._stamp = _stamp(path)
        policy = Policy.from_file(path)
        if not policy.producers:
            raise InvalidInput(
                f"signatures are required, but {path} pins no producer's key\n"
                "add the line that `audit key new NAME` printed, or do not require them"
            )
        self._keys = ProducerKeys(policy, reader)
        self._keys.look_at_log()
        self._is_blind = False

    def look(self) -> None:
        """See what changed. Never raises: the known keys stay as they were."""
        if self._clock() - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = self._clock()
        try:
            self._keys.look_at_log()
            self._is_blind = False
        except AuditError as error:
            if not self._is_blind:  # nothing is sealed meanwhile, so once is enough
                self._alarm("log 0 cannot be read; the producers' keys stay as they were", error)
            self._is_blind = True
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._read_again()

    def _read_again(self) -> None:
        try:
            self._keys.pin(Policy.from_file(self._path))
        except AuditError as error:
            words = "the policy file is not usable; the producers' keys stay as they were"
            self._alarm(words, error)
        else:
            self._told("the policy file was read again", self._path)

    def _alarm(self, text: str, why: AuditError) -> None:
        """Say what somebody has to look at."""
        _log.error("%s: %s", text, why)

    def _told(self, text: str, file: Path) -> None:
        """Say what an operator may want to know."""

    def judged(self, item: Incoming, origin: str, first: int, last: int) -> Incoming:
        """The item, or its quarantine where its signature is not as required; see `fault`.

        A schema is let in without: its bytes depend on the schema alone, whoever sends it.
        """
        if item.is_quarantined or item.columns.type == SCHEMA:
            return item
        draft = item.draft
        fault = self._keys.fault(draft.event, draft.signature, origin, first, last)
        if fault is None:
            return item
        message = Message(draft.event, draft.signature, draft.source)
        return quarantine(message, f"{REQUIRED_REASON}: {fault}")


def _out_of(ranges: Sequence[Range], first: int, last: int) -> str | None:
    """Why a key with these ranges is not good for all indexes from `first` to `last`, if so."""
    if any(begin <= first and (end is None or last <= end) for begin, end in ranges):
        return None
    coming = [begin for begin, end in ranges if begin > first and (end is None or end >= last)]
    if coming:
        return f"not yet good: from entry {min(coming)} of this log on"
    newest = max(-1 if end is None else end for _, end in ranges)
    if newest < 1:  # entry 0 is the log's own
        return "revoked: it was never good in this log"
    return f"revoked: good up to entry {newest} of this log"


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
