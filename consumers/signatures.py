"""Producers' signatures where the policy is to require them: by keys that the policy file pins.

The file is read again when it changes, so that a key that was revoked there is refused within a
second, without a restart. A file that cannot be read leaves the keys as they were, with an alarm.
"""

import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from audit.errors import AuditError, InvalidInput
from audit.event.signing import KEY_ID_BYTES, SIGNATURE_BYTES, SignatureCheck, check_event
from audit.verify.policy import Policy, ProducerKey
from consumers.logs import alarm, info

REQUIRED_REASON = "SIGNATURE_REQUIRED"
LOOK_EVERY_S = 1.0
"""How often the policy file is looked at for changes."""

_WORDS = {
    SignatureCheck.INVALID: "its signature does not hold",
    SignatureCheck.UNKNOWN_KEY: "it is signed with a key that the policy does not pin",
}


class PinnedProducers:
    """The producers' keys of a policy file, by their ids."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file. Raises NotFound, Unavailable, FormatError, InvalidInput without a key."""
        self._path = path
        self._clock = clock
        self._looked_s = clock()
        self._stamp = _stamp(path)
        self._keys = _keys(path)
        if not self._keys:
            raise InvalidInput(
                f"--signatures require, but {path} pins no producer's key\n"
                "add the line that `audit key new NAME` printed, or use --signatures record"
            )

    def look(self) -> None:
        """Read the file again if it changed. Never raises: the known keys stay good."""
        if self._clock() - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = self._clock()
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = _keys(self._path)
        except AuditError as error:
            alarm("the policy file is not usable; the producers' keys stay as they were", why=error)
        else:
            info("the policy file was read again", file=self._path)

    def fault(self, event: bytes, signature: bytes | None, first: int, last: int) -> str | None:
        """Why this event is not signed as required, if so.

        It will be sealed at an index from `first` to `last`, and a key must be good for them all:
        which of them it becomes is decided under the log's lock, when this was asked already.
        """
        if signature is None:
            return f"{REQUIRED_REASON}: it is not signed"
        if len(signature) != SIGNATURE_BYTES:
            return f"{REQUIRED_REASON}: a signature has {SIGNATURE_BYTES} bytes"
        pinned = self._keys.get(signature[:KEY_ID_BYTES], ())
        good = [key.verifier for key in pinned if key.covers(first) and key.covers(last)]
        if pinned and not good:
            return f"{REQUIRED_REASON}: the key of {pinned[0].name} is revoked, or not yet good"
        found, _ = check_event(event, signature, good)
        return None if found is SignatureCheck.VALID else f"{REQUIRED_REASON}: {_WORDS[found]}"


def _keys(path: Path) -> dict[bytes, list[ProducerKey]]:
    keys = defaultdict(list)
    for key in Policy.from_file(path).producers:
        keys[key.verifier.key_id].append(key)
    return dict(keys)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
