"""Checkpoints: golden vectors, and one spelling for each."""

from base64 import b64decode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import errors
from audit.errors import AuditError, FormatError, InvalidInput, LimitExceeded
from audit.tlog.checkpoint import (
    Checkpoint,
    open_checkpoint,
    parse_checkpoint_text,
    sign_checkpoint,
)
from audit.tlog.hashing import EMPTY_ROOT, MAX_SIZE
from audit.tlog.keys import Ed25519Signer, Verifier
from audit.tlog.note import sign_note
from tests.tlog.vectors import cases, note_of, vkeys

VERIFIERS = [Verifier.parse(vkey) for vkey in vkeys("checkpoints")]
LOG = Ed25519Signer.from_seed("ledger.example/main", bytes(range(32)))
OTHER = Ed25519Signer.from_seed("other.example/log", bytes(range(32, 64)))
ROOT = bytes(range(32))
CHECKPOINT = Checkpoint(LOG.name, 7, ROOT)


@pytest.mark.parametrize("case", cases("checkpoints"))
def test_checkpoint_vectors(case):
    data = note_of(case)
    if "error" in case:
        with pytest.raises(errors.AuditError) as caught:
            open_checkpoint(data, VERIFIERS)
        assert type(caught.value).__name__ == case["error"]
        assert case["says"] in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 200
    else:
        checkpoint = open_checkpoint(data, VERIFIERS)
        assert checkpoint == (case["origin"], case["size"], b64decode(case["root"]))


def test_the_specifications_example():
    """The example of tlog-checkpoint v1.0.0, whose key is not published with it."""
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    checkpoint = parse_checkpoint_text(text)
    assert checkpoint.origin == "example.com/behind-the-sofa"
    assert checkpoint.size == 20852163
    assert checkpoint.root.hex().startswith("0ac5186a91863e8e")
    assert checkpoint.text() == text


@given(st.integers(1, MAX_SIZE), st.binary(min_size=32, max_size=32))
def test_sign_and_open(size, root):
    checkpoint = Checkpoint(LOG.name, size, root)
    assert parse_checkpoint_text(checkpoint.text()) == checkpoint
    assert open_checkpoint(sign_checkpoint(checkpoint, LOG), [LOG.verifier]) == checkpoint


def test_an_origin_may_have_spaces():
    text = Checkpoint("go.sum database tree", 7, ROOT).text()
    assert parse_checkpoint_text(text).origin == "go.sum database tree"


@pytest.mark.parametrize(
    "checkpoint",
    [
        CHECKPOINT._replace(origin=""),
        CHECKPOINT._replace(origin="a\nb"),
        CHECKPOINT._replace(origin="a\r"),
        CHECKPOINT._replace(origin="\ud800"),
        CHECKPOINT._replace(origin="x" * 1025),
        CHECKPOINT._replace(origin="é" * 513),
        CHECKPOINT._replace(size=-1),
        CHECKPOINT._replace(size=MAX_SIZE + 1),
        CHECKPOINT._replace(root=b""),
        CHECKPOINT._replace(root=bytes(31)),
        CHECKPOINT._replace(root=bytes(33)),
        CHECKPOINT._replace(size=0),
    ],
)
def test_what_cannot_be_a_checkpoint_is_not_signed(checkpoint):
    with pytest.raises(InvalidInput, match="a checkpoint"):
        checkpoint.text()


def test_the_longest_origin_and_size_can_be_read_back():
    checkpoint = Checkpoint("x" * 1024, MAX_SIZE, ROOT)
    assert parse_checkpoint_text(checkpoint.text()) == checkpoint


def test_only_the_logs_own_key_signs():
    with pytest.raises(InvalidInput, match="cannot sign for the log"):
        sign_checkpoint(CHECKPOINT, OTHER)


def test_a_cosigning_key_does_not_speak_for_the_log():
    both = [LOG.verifier, OTHER.verifier]
    with pytest.raises(errors.UnknownKey, match="named as its origin"):
        open_checkpoint(sign_note(CHECKPOINT.text(), [OTHER]), both)
    assert open_checkpoint(sign_note(CHECKPOINT.text(), [OTHER, LOG]), both) == CHECKPOINT


@pytest.mark.parametrize("size", [0, 1])
def test_the_empty_tree(size):
    text = f"a\n{size}\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    assert parse_checkpoint_text(text) == ("a", size, EMPTY_ROOT)


def test_a_gigabyte_is_refused():
    with pytest.raises(LimitExceeded):
        open_checkpoint(bytes(1_000_000_000), VERIFIERS)
    with pytest.raises(FormatError):
        parse_checkpoint_text("\n" * 10_000_000)


PIECES = st.sampled_from(
    ["\n", "a", "7", "0", "+", "-", "_", " ", "=", "\u0667", "\u2028", "\ud800", "\r", "\x85",
     "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]
)  # fmt: skip


@settings(max_examples=500)
@given(st.text() | st.lists(PIECES, max_size=12).map("".join))
def test_any_text_is_a_checkpoint_or_refused(text):
    try:
        checkpoint = parse_checkpoint_text(text)
    except FormatError:
        return
    assert checkpoint.text() == text


@settings(max_examples=300)
@given(st.integers(0, 90), st.integers(0, 3), st.text(max_size=3))
def test_every_spelling_that_is_read_is_written_so(position, removed, added):
    good = CHECKPOINT.text()
    text = good[:position] + added + good[position + removed :]
    try:
        checkpoint = parse_checkpoint_text(text)
    except AuditError:
        return
    assert checkpoint.text() == text
