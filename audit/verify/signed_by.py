"""Who signed an entry: its producer, its log, witnesses - and what that does not prove."""

from typing import Any, NamedTuple

from audit.errors import AuditError, InvalidProof
from audit.event.signing import SignatureCheck
from audit.log.entry import Entry, Kind, decode_entry
from audit.log.record import read_record
from audit.store.contract import Reader
from audit.tlog.hashing import leaf_hash
from audit.tlog.merkle import inclusion_proof
from audit.tlog.proof import verify_inclusion
from audit.verify.guarded import GuardedReader
from audit.verify.policy import Policy
from audit.verify.steps.checkpoint import Refused, open_stored
from audit.verify.steps.producers import judge, keys_by_id

VALID = "VALID"
INVALID = "INVALID"
NONE = "NONE"
UNKNOWN_KEY = "UNKNOWN KEY"

_WORDS = {
    SignatureCheck.VALID: VALID,
    SignatureCheck.INVALID: INVALID,
    SignatureCheck.UNKNOWN_KEY: UNKNOWN_KEY,
    SignatureCheck.UNSIGNED: NONE,
}
_INDENT = 12


class Signed(NamedTuple):
    """One signature: who, the status (VALID, INVALID, NONE, UNKNOWN KEY), and the details."""

    who: str
    status: str
    details: str = ""


class SignedBy(NamedTuple):
    """Who signed an entry. `checkpoint_size` and `proof_hashes` are 0 where the log did not."""

    producer: Signed
    log: Signed
    witnesses: Signed
    checkpoint_size: int
    proof_hashes: int
    not_proven: tuple[str, ...]

    def lines(self) -> list[str]:
        """As text, the labels in the first twelve columns."""
        signed = (self.producer, self.log, self.witnesses)
        width = max(len(one.who) for one in signed) + 3
        lines = []
        for number, (who, status, details) in enumerate(signed):
            label = "" if number else "SIGNED BY"
            lines.append(f"{label:<{_INDENT}}{who:<{width}}{status} {details}".rstrip())
        lines.append(f"{'NOT PROVEN':<{_INDENT}}{'; '.join(self.not_proven)}")
        return lines

    def to_json(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "producer": self.producer._asdict(),
            "log": {
                **self.log._asdict(),
                "checkpoint_size": self.checkpoint_size,
                "proof_hashes": self.proof_hashes,
            },
            "witnesses": self.witnesses._asdict(),
            "not_proven": list(self.not_proven),
        }


def who_signed(reader: Reader, log: int, index: int, policy: Policy | None) -> SignedBy:
    """Check the signatures of one entry. Raises NotFound, Unavailable, FormatError."""
    trusted = policy if policy is not None else Policy(description="no policy")
    guarded = GuardedReader(reader)
    leaf = guarded.leaf(log, index)
    entry = decode_entry(leaf)
    info = next((info for info in reader.logs() if info.log == log), None)
    producer = _producer(entry, trusted, info.origin if info else str(log), index)
    log_signed, size, hashes = _log(guarded, log, index, leaf, trusted)
    not_proven = ["freshness"]
    event = read_record(log, leaf).event
    if event is not None and entry.kind is Kind.EVENT:
        not_proven.append(f"that what {event.source} said is true")
    if trusted.beside_store:
        not_proven.append("that the keys are the right ones (the policy lay beside the ledger)")
    return SignedBy(
        producer, log_signed, Signed("witnesses", NONE), size, hashes, tuple(not_proven)
    )


def _producer(entry: Entry, policy: Policy, origin: str, index: int) -> Signed:
    if entry.signature is None:
        details = "(the log's own word)" if entry.kind is Kind.CONTROL else ""
        return Signed("producer", NONE, details)
    check, key = judge(keys_by_id(policy, origin), index, entry.event, entry.signature)
    if key is None:
        who, details = "producer", f"{entry.signature[:4].hex()}, which the policy does not name"
    else:
        who = f"producer {key.name}"
        details = f"over these exact bytes (key pinned in {_where(policy)})"
        if check is SignatureCheck.UNKNOWN_KEY:
            details = f"at index {index}: the policy names the key for other entries"
    return Signed(who, _WORDS[check], details)


def _log(
    reader: GuardedReader, log: int, index: int, leaf: bytes, policy: Policy
) -> tuple[Signed, int, int]:
    info = next((info for info in reader.logs() if info.log == log), None)
    origin = info.origin if info else str(log)
    who = f"log {origin}"
    stored = reader.covering_checkpoint(log, index + 1)
    if stored is None:
        return Signed(who, NONE, "no checkpoint covers it"), 0, 0
    opened = open_stored(stored, origin, policy.logs)
    if isinstance(opened, Refused):
        status = UNKNOWN_KEY if opened.code == "unknown_key" else INVALID
        return Signed(who, status, f"the checkpoint of size {stored.size}: {opened.message}"), 0, 0
    try:
        proof = inclusion_proof(reader.hashes(log, opened.size), index, opened.size)
        verify_inclusion(leaf_hash(leaf), index, opened.size, proof, opened.root)
    except InvalidProof:
        words = f"this entry is not under the checkpoint of size {opened.size}"
        return Signed(who, INVALID, words), opened.size, 0
    except AuditError as error:
        return Signed(who, INVALID, str(error)), opened.size, 0
    count = f"{len(proof)} proof hash{'' if len(proof) == 1 else 'es'}"
    details = f"through the checkpoint of size {opened.size} ({count})"
    return Signed(who, VALID, details), opened.size, len(proof)


def _where(policy: Policy) -> str:
    return policy.description.removeprefix("policy file ")
