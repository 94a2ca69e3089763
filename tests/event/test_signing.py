"""Producer signatures: what each check finds, and that one signs exactly the event's bytes."""

import pytest

from audit.errors import FormatError
from audit.event.build import data_event
from audit.event.envelope import encode_event
from audit.event.signing import SignatureCheck, check_event, sign_event
from audit.tlog.keys import Ed25519Signer

CRM = Ed25519Signer.from_seed("crm.key", bytes(range(32)))
OTHER = Ed25519Signer.from_seed("other.key", bytes(32))
SAME_NAME = Ed25519Signer.from_seed("crm.key", bytes(32))
EVENT = encode_event(data_event("update", "u", 5, event_id="e", source="s", after={"a": 1}).event)
SIGNATURE = sign_event(EVENT, CRM)


def test_a_signature_is_a_key_id_and_an_ed25519_signature() -> None:
    assert len(SIGNATURE) == 68
    assert SIGNATURE[:4] == CRM.verifier.key_id
    assert CRM.verifier.verify(EVENT, SIGNATURE[4:])


@pytest.mark.parametrize(
    ("data", "signature", "verifiers", "found", "key"),
    [
        (EVENT, SIGNATURE, [CRM.verifier], SignatureCheck.VALID, CRM.verifier),
        (EVENT, SIGNATURE, [OTHER.verifier, CRM.verifier], SignatureCheck.VALID, CRM.verifier),
        (EVENT, None, [CRM.verifier], SignatureCheck.UNSIGNED, None),
        (EVENT, SIGNATURE, [], SignatureCheck.UNKNOWN_KEY, None),
        (EVENT, SIGNATURE, [OTHER.verifier], SignatureCheck.UNKNOWN_KEY, None),
        (EVENT, SIGNATURE, [SAME_NAME.verifier], SignatureCheck.UNKNOWN_KEY, None),
        (EVENT + b"\0", SIGNATURE, [CRM.verifier], SignatureCheck.INVALID, CRM.verifier),
        (EVENT, SIGNATURE[:-1], [CRM.verifier], SignatureCheck.INVALID, None),
        (EVENT, SIGNATURE + b"\0", [CRM.verifier], SignatureCheck.INVALID, None),
        (EVENT, b"", [CRM.verifier], SignatureCheck.INVALID, None),
    ],
)
def test_checks(
    data: bytes, signature: bytes, verifiers: list, found: SignatureCheck, key: object
) -> None:  # type: ignore[type-arg]
    assert check_event(data, signature, verifiers) == (found, key)


def test_any_flipped_bit_is_found() -> None:
    for at in range(len(EVENT)):
        broken = bytearray(EVENT)
        broken[at] ^= 1
        assert check_event(bytes(broken), SIGNATURE, [CRM.verifier])[0] is SignatureCheck.INVALID
    for at in range(4, 68):
        changed = bytearray(SIGNATURE)
        changed[at] ^= 1
        assert check_event(EVENT, bytes(changed), [CRM.verifier])[0] is SignatureCheck.INVALID


@pytest.mark.parametrize("data", [b"", b"example.com/log\n5\nAAAA\n", EVENT[1:]])
def test_a_producers_key_signs_events_only(data: bytes) -> None:
    with pytest.raises(FormatError, match="only the bytes of an event"):
        sign_event(data, CRM)
