"""Signed notes: golden vectors, the specification's key, limits."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import errors
from audit.errors import AuditError, FormatError, InvalidInput, LimitExceeded, UnknownKey
from audit.tlog.keys import Ed25519Signer, Verifier
from audit.tlog.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Note,
    NoteSignature,
    open_note,
    parse_note,
    serialize_note,
    sign_note,
)
from tests.tlog.vectors import cases, note_of, vkeys

VERIFIERS = [Verifier.parse(vkey) for vkey in vkeys("notes")]
LOG = Ed25519Signer.from_seed("ledger.example/main", bytes(range(32)))
OTHER = Ed25519Signer.from_seed("other.example/log", bytes(range(32, 64)))
SIGNATURE = NoteSignature("a", bytes(4), b"x")


@pytest.mark.parametrize("case", cases("notes"))
def test_note_vectors(case):
    data = note_of(case)
    if "error" in case:
        with pytest.raises(errors.AuditError) as caught:
            open_note(data, VERIFIERS)
        assert type(caught.value).__name__ == case["error"]
        assert case["says"] in str(caught.value)
    else:
        note, signed_by = open_note(data, VERIFIERS)
        assert [verifier.name for verifier in signed_by] == case["signed_by"]
        assert serialize_note(note) == data


def test_the_specifications_example():
    """The worked example of signed-note v1.0.0, section "Verifier keys"."""
    vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    signature = (
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72Ineya"
        "QM="
    )
    data = f"This is an example message.\n\n\u2014 example.com/foo {signature}\n".encode()
    note, signed_by = open_note(data, [Verifier.parse(vkey)])
    assert note.text == "This is an example message.\n"
    assert [verifier.vkey for verifier in signed_by] == [vkey]
    with pytest.raises(errors.InvalidSignature):
        open_note(data.replace(b"example message", b"exbmple message"), [Verifier.parse(vkey)])


TEXTS = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]) | st.just("\n")).map(
    lambda text: text + "\n"
)


@given(TEXTS, st.sampled_from([[LOG], [LOG, OTHER], [OTHER, LOG], [LOG, LOG]]))
def test_sign_and_open(text, signers):
    data = sign_note(text, signers)
    note, signed_by = open_note(data, [LOG.verifier, OTHER.verifier])
    assert note.text == text
    assert [signer.verifier for signer in dict.fromkeys(signers)] == list(signed_by)
    assert parse_note(data) == note
    assert serialize_note(note) == data


def test_two_known_keys_in_the_order_of_their_lines():
    data = sign_note("a\n", [OTHER, LOG])
    assert open_note(data, [LOG.verifier, OTHER.verifier])[1] == (OTHER.verifier, LOG.verifier)
    assert open_note(data, [LOG.verifier])[1] == (LOG.verifier,)
    with pytest.raises(UnknownKey):
        open_note(data, [])


@pytest.mark.parametrize(
    "text", ["", "a", "a\r\n", "a\tb\n", "a\0\n", "\x1f\n", "\ud800\n", "\n\ud800\n"]
)
def test_texts_that_cannot_be_a_note(text):
    with pytest.raises(InvalidInput, match="a note's text"):
        sign_note(text, [LOG])


@pytest.mark.parametrize(
    ("signatures", "error"),
    [
        ([], InvalidInput),
        ([SIGNATURE._replace(name="a b")], InvalidInput),
        ([SIGNATURE._replace(name="")], InvalidInput),
        ([SIGNATURE._replace(key_id=bytes(3))], InvalidInput),
        ([SIGNATURE._replace(signature=b"")], InvalidInput),
        ([SIGNATURE] * (MAX_SIGNATURES + 1), LimitExceeded),
        ([SIGNATURE._replace(signature=bytes(MAX_NOTE_BYTES))], LimitExceeded),
    ],
)
def test_notes_that_would_be_refused_are_not_written(signatures, error):
    with pytest.raises(error):
        serialize_note(Note("a\n", tuple(signatures)))


def test_a_gigabyte_is_refused_by_its_length():
    gigabyte = bytes(1_000_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded, match="longer than 1,000,000 bytes"):
            open_note(gigabyte, VERIFIERS)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100_000, "nothing of it was copied"


@pytest.mark.parametrize(
    "block",
    [
        b"\n",
        b"\n\n",
        b"\n\n\xe2\x80\x94 ",
        b"\n\n\xe2\x80\x94 a AAAAAAA=\n",
        b"a b\n\n",
        b"=",
        b" ",
    ],
)
@pytest.mark.parametrize("start", [b"", b"a\n\n\xe2\x80\x94 a "])
def test_the_largest_hostile_notes(block, start):
    data = (start + block * MAX_NOTE_BYTES)[: MAX_NOTE_BYTES - 1] + b"\n"
    try:
        note = parse_note(data)
    except AuditError:
        return
    assert len(note.signatures) <= MAX_SIGNATURES


def test_work_stops_at_the_limit_of_signatures():
    asked = []

    class Counting(Verifier):
        def verify(self, message, signature):
            asked.append(signature)
            return super().verify(message, signature)

    verifier = Counting(LOG.name, LOG.verifier.key_id, LOG.verifier.public_key)
    line = sign_note("a\n", [LOG])[3:]
    with pytest.raises(LimitExceeded):
        open_note(b"a\n\n" + line * 5000, [verifier])
    assert asked == []
    open_note(b"a\n\n" + line * MAX_SIGNATURES, [verifier])
    assert len(asked) == MAX_SIGNATURES


@given(st.binary(max_size=300))
def test_any_bytes_are_a_note_or_refused(data):
    with pytest.raises(AuditError):
        open_note(data, VERIFIERS)


PIECES = st.sampled_from(
    [b"\n", b"\n\n", b"\xe2\x80\x94 ", b"a", b" ", b"AAAAAAA=", b"=", b"+", b"\r", b"\0", b"\xff"]
)
GOOD = sign_note("ledger.example/main\n1\n\n", [LOG, OTHER])


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES, max_size=30).map(b"".join))
def test_pieces_of_notes_parse_or_are_refused(data):
    try:
        note = parse_note(data)
    except FormatError:
        return
    assert serialize_note(note) == data


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(GOOD)), st.integers(0, 3), st.binary(max_size=3))
def test_a_changed_note_is_another_note_or_refused(position, removed, added):
    data = GOOD[:position] + added + GOOD[position + removed :]
    try:
        note, signed_by = open_note(data, [LOG.verifier, OTHER.verifier])
    except AuditError:
        return
    assert note.text == "ledger.example/main\n1\n\n", "the signed text cannot change"
    assert signed_by
