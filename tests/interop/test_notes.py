"""Notes and checkpoints against golang.org/x/mod/sumdb, in both directions."""

from base64 import b64decode, b64encode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import FormatError
from audit.tlog.checkpoint import Checkpoint, parse_checkpoint_text
from audit.tlog.hashing import MAX_SIZE
from audit.tlog.keys import Ed25519Signer
from audit.tlog.note import open_note, sign_note
from audit.tlog.tiles import tile_path
from tests.tlog.vectors import cases, note_of, vkeys

SEEDS = [bytes(range(32)), bytes(range(32, 64))]
LOG, OTHER = (
    Ed25519Signer.from_seed(name, seed)
    for name, seed in zip(["ledger.example/main", "other.example/log"], SEEDS, strict=True)
)
VKEYS = [LOG.verifier.vkey, OTHER.verifier.vkey]
ROOT = bytes(range(32))

# The only origin that the other library reads and writes.
ORIGIN = "go.sum database tree"

# What that library takes and we do not. It reads base64 whose last character has bits to spare,
# does not look at a second signature by one key, where the specification has every line of a known
# key verified, and has no limit on a note's length.
STRICTER_NOTES = {
    "base64 with tail bits",
    "right then wrong by one key",
    "a note of 1000001 bytes",
}

TEXTS = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]) | st.just("\n")).map(
    lambda text: text + "\n"
)
many = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def skey(signer, seed):
    """The private key as that library writes it."""
    key = b64encode(b"\x01" + seed).decode()
    return f"PRIVATE+KEY+{signer.name}+{signer.verifier.key_id.hex()}+{key}"


SKEYS = [skey(LOG, SEEDS[0]), skey(OTHER, SEEDS[1])]


@many
@given(TEXTS)
def test_both_write_the_same_note(go_peer, text):
    theirs = go_peer.ask("sign_note", text=text, skeys=SKEYS)
    assert b64decode(theirs["note"]) == sign_note(text, [LOG, OTHER])


@many
@given(TEXTS)
def test_they_open_ours(go_peer, text):
    answer = go_peer.ask("open_note", note=sign_note(text, [LOG, OTHER]), vkeys=VKEYS)
    assert answer == {"text": text, "names": [LOG.name, OTHER.name]}


@many
@given(TEXTS)
def test_we_open_theirs(go_peer, text):
    theirs = b64decode(go_peer.ask("sign_note", text=text, skeys=SKEYS)["note"])
    note, signed_by = open_note(theirs, [LOG.verifier, OTHER.verifier])
    assert note.text == text
    assert signed_by == (LOG.verifier, OTHER.verifier)


@pytest.mark.parametrize("case", cases("notes"))
def test_they_judge_our_vectors_alike(go_peer, case):
    answer = go_peer.ask("open_note", note=note_of(case), vkeys=vkeys("notes"))
    if "error" in case and case["name"] not in STRICTER_NOTES:
        assert "error" in answer
    else:
        assert "error" not in answer


@many
@given(st.integers(1, MAX_SIZE), st.binary(min_size=32, max_size=32))
def test_tree_heads_are_spelled_alike(go_peer, size, root):
    text = Checkpoint(ORIGIN, size, root).text()
    assert go_peer.ask("format_tree", size=size, root=root) == {"text": text}
    answer = go_peer.ask("parse_tree", text=text)
    assert (answer["size"], b64decode(answer["root"])) == (size, root)
    assert parse_checkpoint_text(text) == (ORIGIN, size, root)


HEAD = Checkpoint(ORIGIN, 7, ROOT).text()
ENCODED = b64encode(ROOT).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD[:-1],
        HEAD.replace("\n7\n", "\n07\n"),
        HEAD.replace("\n7\n", "\n+7\n"),
        HEAD.replace("\n7\n", "\n-7\n"),
        HEAD.replace("\n7\n", "\n7_0\n"),
        HEAD.replace("\n7\n", "\n 7\n"),
        HEAD.replace("\n7\n", "\n\u0667\n"),
        HEAD.replace("\n7\n", f"\n{2**63}\n"),
        HEAD.replace("\n7\n", "\n\n"),
        HEAD.replace(ENCODED, b64encode(ROOT[:31]).decode()),
        HEAD.replace(ENCODED, b64encode(ROOT + b"\0").decode()),
        HEAD.replace(ENCODED, ENCODED[:-1]),
        HEAD.replace(ENCODED, "!" + ENCODED[1:]),
        HEAD.replace(ENCODED, ""),
        HEAD.replace(ORIGIN + "\n", ""),
    ],
)
def test_both_refuse_a_tree_head(go_peer, text):
    assert "error" in go_peer.ask("parse_tree", text=text)
    with pytest.raises(FormatError):
        parse_checkpoint_text(text)


@many
@given(st.integers(0, 63), st.integers(0, 2**40), st.integers(1, 256))
def test_tiles_are_named_alike(go_peer, level, index, width):
    answer = go_peer.ask("tile_path", level=level, index=index, width=width)
    assert answer == {"path": tile_path(level, index, width)}
