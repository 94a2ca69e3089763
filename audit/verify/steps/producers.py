"""Step: producer signatures, each over the exact bytes of its event, with keys from the policy."""

from audit.event.signing import SignatureCheck, check_event
from audit.log.entry import SIGNATURE_BYTES
from audit.tlog.keys import KEY_ID_BYTES
from audit.verify.findings import ProducerSignatures
from audit.verify.noted import Notes
from audit.verify.policy import Policy, ProducerKey


class ProducerWalk:
    """Counts the producer signatures of a log, and notes those that are wrong."""

    def __init__(self, policy: Policy, origin: str, notes: Notes, warnings: Notes) -> None:
        self._by_key_id = keys_by_id(policy, origin)
        self._notes = notes
        self._warnings = warnings
        self.unsigned = 0
        self._checked = self._invalid = self._unknown = 0

    def take(self, index: int, event: bytes, signature: bytes | None) -> None:
        """Check the signature that came with an event, if any."""
        if signature is None:
            self.unsigned += 1
            return
        check, key = judge(self._by_key_id, index, event, signature)
        if check is SignatureCheck.VALID:
            self._checked += 1
        elif check is SignatureCheck.INVALID:
            self._invalid += 1
            name = key.name if key else "a producer"
            self._notes.add(
                "producer_signature",
                index,
                f"entry {index} claims to be signed by {name}, and these bytes are not",
            )
        else:
            self._unknown += 1
            if key is not None:
                self._warnings.add(
                    "producer_key_out_of_range",
                    index,
                    f"entry {index} is signed by a key of {key.name} that is not good there",
                )

    def counts(self) -> ProducerSignatures:
        """The counts so far."""
        return ProducerSignatures(self._checked, self._invalid, self.unsigned, self._unknown)


def keys_by_id(policy: Policy, origin: str) -> dict[bytes, list[ProducerKey]]:
    """The producer keys that are pinned in the log with this origin, by their 4-byte key id."""
    by_key_id: dict[bytes, list[ProducerKey]] = {}
    for key in policy.producers_in(origin):
        by_key_id.setdefault(key.verifier.key_id, []).append(key)
    return by_key_id


def judge(
    by_key_id: dict[bytes, list[ProducerKey]], index: int, event: bytes, signature: bytes
) -> tuple[SignatureCheck, ProducerKey | None]:
    """What a signature is worth at an index, and the pinned key it claims.

    UNKNOWN_KEY with a key: the policy names it, but not for this index.
    """
    claimed = by_key_id.get(signature[:KEY_ID_BYTES])
    if claimed is None or len(signature) != SIGNATURE_BYTES:
        return SignatureCheck.UNKNOWN_KEY, None
    good = [key for key in claimed if key.covers(index)]
    if not good:
        return SignatureCheck.UNKNOWN_KEY, claimed[0]
    check, verifier = check_event(event, signature, [key.verifier for key in good])
    if check is SignatureCheck.VALID:
        return check, next(key for key in good if key.verifier == verifier)
    return check, good[0]
