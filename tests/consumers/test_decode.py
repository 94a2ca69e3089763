"""Decoding: what each message becomes, and that nothing of it is dropped."""

import hashlib
import os
from pathlib import Path

import pytest

from audit.errors import FormatError, InvalidInput, Unavailable
from audit.event.signing import sign_event
from audit.kafka.transport import Fetched
from audit.log.entry import MAX_EVENT_IN_LEAF_BYTES, Kind, SourceSpan
from audit.log.intake import Incoming
from audit.log.oversize import MARK as OVERSIZE_MARK
from audit.store.blobs import BlobStore
from audit.tlog.keys import Ed25519Signer, new_seed
from audit.verify.policy import Policy, ProducerKey
from consumers.decode import Decoder
from consumers.settings import Signatures
from consumers.signatures import LOOK_EVERY_S, PinnedProducers
from tests.consumers.support import an_event, the_schema

EVENT = an_event(1)
HUGE = bytes(range(256)) * 400


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def decode(
    decoder: Decoder, *messages: Fetched, indexes: tuple[int, int] = (0, 0)
) -> list[Incoming]:
    into: list[Incoming] = []
    decoder.decode(3, messages, into, indexes)
    return into


def test_an_event_is_an_event_with_its_place(blobs: BlobStore) -> None:
    (item,) = decode(Decoder("t", blobs), Fetched(7, b"k", EVENT, None))
    assert (item.draft.kind, item.draft.event) == (Kind.EVENT, EVENT)
    assert item.draft.source == SourceSpan("t", 3, 7, 8)


@pytest.mark.parametrize(
    ("key", "value", "event", "reason"),
    [
        (b"user/1", None, b"user/1", "TOMBSTONE: "),
        (None, None, b"", "TOMBSTONE: "),
        (b"k", b"", b"", "UNDECODABLE: "),
        (b"k", b"{}", b"{}", "UNDECODABLE: "),
        (b"k", EVENT[:-1], EVENT[:-1], "UNDECODABLE: "),
        (b"k", b"\0" * MAX_EVENT_IN_LEAF_BYTES, b"\0" * MAX_EVENT_IN_LEAF_BYTES, "UNDECODABLE: "),
        (b"k", an_event(1, source="audit"), an_event(1, source="audit"), "RESERVED: "),
    ],
)
def test_what_is_no_event_is_quarantined_with_its_bytes(
    blobs: BlobStore, key: bytes | None, value: bytes | None, event: bytes, reason: str
) -> None:
    (item,) = decode(Decoder("t", blobs), Fetched(0, key, value, None))
    assert item.is_quarantined
    assert item.draft.event == event
    assert item.draft.reason is not None and item.draft.reason.startswith(reason)


@pytest.mark.parametrize("signatures", [Signatures.RECORD, Signatures.IGNORE])
def test_an_oversize_message_is_kept_in_the_blob_store(
    blobs: BlobStore, signatures: Signatures
) -> None:
    decoder = Decoder("t", blobs, signatures=signatures)
    value, key = decode(decoder, Fetched(0, b"k", HUGE, None), Fetched(1, HUGE, None, None))
    digest = "sha256:" + hashlib.sha256(HUGE).hexdigest()
    assert blobs.get(digest) == HUGE
    assert value.draft.event == OVERSIZE_MARK + f"{digest} {len(HUGE)}\n".encode() + HUGE[:1024]
    assert value.draft.reason == f"OVERSIZE: {len(HUGE)} bytes, {digest} in the blob store"
    assert key.draft.reason is not None and key.draft.reason.startswith("TOMBSTONE: ")
    assert key.is_quarantined and "OVERSIZE" in key.draft.reason


def test_what_is_decoded_before_the_blob_store_fails_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    decoder = Decoder("t", BlobStore(tmp_path / "file" / "blobs"))
    into: list[Incoming] = []
    messages = [Fetched(0, None, EVENT, None), Fetched(1, None, HUGE, None)]
    with pytest.raises(Unavailable):
        decoder.decode(0, messages, into)
    assert [item.draft.event for item in into] == [EVENT]


class Framing:
    """A registry's framing that knows three kinds of messages."""

    def decode(self, value: bytes) -> bytes:
        if value.startswith(b"gone"):
            raise Unavailable("the registry does not answer")
        if not value.startswith(b"\0"):
            raise FormatError("not framed")
        return value[1:]


def test_a_registrys_framing_is_taken_off(blobs: BlobStore) -> None:
    decoder = Decoder("t", blobs, framing=Framing())  # type: ignore[arg-type]
    almost = b"\0" + b"x" * (MAX_EVENT_IN_LEAF_BYTES - 1)
    good, bad, large = decode(
        decoder,
        Fetched(0, None, b"\0" + EVENT, None),
        Fetched(1, None, b"unknown", b"of any length"),
        Fetched(2, None, almost, None),
    )
    assert good.draft.event == EVENT
    assert bad.draft.reason == "UNDECODABLE: not framed"
    assert (bad.draft.event, bad.draft.signature) == (b"unknown", None)
    assert large.is_quarantined
    into: list[Incoming] = []
    with pytest.raises(Unavailable):
        decoder.decode(
            0, [Fetched(0, None, b"\0" + EVENT, None), Fetched(1, None, b"gone", None)], into
        )
    assert len(into) == 1


# Signatures


SIGNER = Ed25519Signer.from_seed("crm", new_seed())
OTHER = Ed25519Signer.from_seed("crm", new_seed())


def write_policy(path: Path, *keys: ProducerKey) -> None:
    path.write_text(Policy(producers=keys).to_text())


def requiring(path: Path, blobs: BlobStore, clock: object = None) -> Decoder:
    pinned = PinnedProducers(path) if clock is None else PinnedProducers(path, clock)  # type: ignore[arg-type]
    return Decoder("t", blobs, signatures=Signatures.REQUIRE, pinned=pinned)


def reason(item: Incoming) -> str | None:
    return item.draft.reason


def test_recorded_signatures_are_kept_unchecked(blobs: BlobStore) -> None:
    wrong = bytes(68)
    kept, malformed = decode(
        Decoder("t", blobs), Fetched(0, None, EVENT, wrong), Fetched(1, None, EVENT, b"short")
    )
    assert (kept.draft.kind, kept.draft.signature) == (Kind.EVENT, wrong)
    assert reason(malformed) == "SIGNATURE_MALFORMED: 5 bytes, not 68"


def test_ignored_signatures_are_not_kept(blobs: BlobStore) -> None:
    decoder = Decoder("t", blobs, signatures=Signatures.IGNORE)
    for signature in (sign_event(EVENT, SIGNER), b"short"):
        (item,) = decode(decoder, Fetched(0, None, EVENT, signature))
        assert (item.draft.kind, item.draft.signature) == (Kind.EVENT, None)


def test_required_signatures_are_checked(tmp_path: Path, blobs: BlobStore) -> None:
    path = tmp_path / "audit.policy"
    write_policy(path, ProducerKey("crm", SIGNER.verifier))
    decoder = requiring(path, blobs)
    good = sign_event(EVENT, SIGNER)
    items = decode(
        decoder,
        Fetched(0, None, EVENT, good),
        Fetched(1, None, EVENT, None),
        Fetched(2, None, an_event(2), good),
        Fetched(3, None, EVENT, sign_event(EVENT, OTHER)),
        Fetched(4, None, the_schema(), None),
        Fetched(5, None, b"junk", None),
    )
    assert (items[0].draft.kind, items[0].draft.signature) == (Kind.EVENT, good)
    assert [reason(item) for item in items[1:5]] == [
        "SIGNATURE_REQUIRED: it is not signed",
        "SIGNATURE_REQUIRED: its signature does not hold",
        "SIGNATURE_REQUIRED: it is signed with a key that the policy does not pin",
        None,
    ]
    assert items[2].draft.signature == good
    assert str(reason(items[5])).startswith("UNDECODABLE")


@pytest.mark.parametrize(
    ("key", "indexes", "fault"),
    [
        (ProducerKey("crm", SIGNER.verifier, 10, 20), (10, 20), None),
        (ProducerKey("crm", SIGNER.verifier, 10, 20), (9, 15), "not yet good: from entry 10"),
        (ProducerKey("crm", SIGNER.verifier, 10, 20), (15, 21), "revoked: good up to entry 20"),
        (ProducerKey("crm", SIGNER.verifier, 10, None), (11, 10**9), None),
    ],
)
def test_a_key_is_good_for_its_indexes_only(
    tmp_path: Path, blobs: BlobStore, key: ProducerKey, indexes: tuple[int, int], fault: str | None
) -> None:
    write_policy(tmp_path / "audit.policy", key)
    decoder = requiring(tmp_path / "audit.policy", blobs)
    (item,) = decode(decoder, Fetched(0, None, EVENT, sign_event(EVENT, SIGNER)), indexes=indexes)
    assert item.is_quarantined == (fault is not None)
    assert fault is None or f"the key of crm is {fault} of this log" in str(reason(item))


def test_the_policy_file_is_read_again(tmp_path: Path, blobs: BlobStore) -> None:
    path, now = tmp_path / "audit.policy", [0.0]
    write_policy(path, ProducerKey("crm", SIGNER.verifier))
    decoder = requiring(path, blobs, lambda: now[0])
    message = Fetched(0, None, EVENT, sign_event(EVENT, SIGNER))

    def accepted() -> bool:
        now[0] += LOOK_EVERY_S
        return not decode(decoder, message)[0].is_quarantined

    assert accepted()
    path.write_text("no policy at all\n")
    assert accepted(), "a broken file must not make every producer unknown"
    write_policy(path, ProducerKey("crm", OTHER.verifier))
    assert not accepted()
    os.unlink(path)
    assert not accepted()


def test_requiring_needs_a_pinned_key(tmp_path: Path) -> None:
    write_policy(tmp_path / "audit.policy")
    with pytest.raises(InvalidInput, match="audit key new"):
        PinnedProducers(tmp_path / "audit.policy")
