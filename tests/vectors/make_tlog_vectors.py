"""Writes the golden vectors of tests/vectors/tlog: fixed keys in, the same bytes out every time.

Run it as `python tests/vectors/make_tlog_vectors.py [FOLDER]`. What a reader must answer to each
case is written down here by hand, never computed by the code that the vectors test.
"""

import json
import sys
from base64 import b64encode
from pathlib import Path

from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.hashing import EMPTY_ROOT, leaf_hash, node_hash
from audit.tlog.keys import Ed25519Signer, derive_seed
from audit.tlog.merkle import root_of
from audit.tlog.note import sign_note
from audit.tlog.tiles import tile_path

FOLDER = Path(__file__).parent / "tlog"
ORIGIN = "ledger.example/main"
LOG = Ed25519Signer.from_seed(ORIGIN, bytes(range(32)))
OTHER = Ed25519Signer.from_seed("other.example/log", bytes(range(32, 64)))
ROTATED = Ed25519Signer.from_seed(ORIGIN, bytes(range(64, 96)))
DASH = "\u2014 ".encode()
LEAVES = [b"leaf %d" % i for i in range(300)]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]

Case = dict[str, object]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, cases in (
        ("keys", keys()),
        ("trees", trees()),
        ("notes", notes()),
        ("checkpoints", checkpoints()),
        ("inclusion", inclusion()),
        ("consistency", consistency()),
    ):
        text = json.dumps(cases, indent=1, ensure_ascii=True) + "\n"
        (folder / f"{name}.json").write_text(text)


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def keys() -> list[Case]:
    return [
        {
            "name": signer.name,
            "seed": seed.hex(),
            "vkey": signer.verifier.vkey,
            "signature_of_empty": signer.sign(b"").hex(),
        }
        for signer, seed in (
            (LOG, bytes(range(32))),
            (OTHER, bytes(range(32, 64))),
            (ROTATED, bytes(range(64, 96))),
            *(
                (Ed25519Signer.from_seed(origin, seed), seed)
                for origin in (f"{ORIGIN}/orders/0", f"{ORIGIN}/orders/1")
                for seed in [derive_seed(bytes(range(32)), origin)]
            ),
        )
    ]


def trees() -> list[Case]:
    roots: list[Case] = [
        {"name": f"size {size}", "size": size, "root": b64(root_of(HASHES[:size]))}
        for size in (0, 1, 2, 3, 4, 5, 6, 7, 8, 70, 255, 256, 257, 300)
    ]
    paths: list[Case] = [
        {"name": path, "level": level, "index": index, "width": width}
        for level, index, width in (
            (0, 0, 256), (0, 0, 1), (0, 999, 255), (0, 1000, 256), (1, 1234067, 17), (63, 0, 256),
            (0, 2**55 - 1, 256),
        )
        for path in [tile_path(level, index, width)]
    ]  # fmt: skip
    return roots + paths


def _raw_note(text: bytes, signer: Ed25519Signer = LOG) -> bytes:
    """A note over any bytes at all; the signature is right."""
    return text + b"\n" + line(text, signer)


def line(text: bytes, signer: Ed25519Signer = LOG) -> bytes:
    blob = signer.verifier.key_id + signer.sign(text)
    return DASH + signer.name.encode() + b" " + b64encode(blob) + b"\n"


def notes() -> list[Case]:
    text = b"two paragraphs\n\nin one text\n"
    good = _raw_note(text)
    mine, other, rotated = line(text), line(text, OTHER), line(text, ROTATED)
    wrong = DASH + ORIGIN.encode() + b" " + b64encode(LOG.verifier.key_id + bytes(64)) + b"\n"
    body = text + b"\n"
    accepted: list[tuple[str, bytes, list[str]]] = [
        ("one signature", good, [ORIGIN]),
        ("text ends with blank lines", _raw_note(b"a\n\n\n"), [ORIGIN]),
        ("text is one line feed", _raw_note(b"\n"), [ORIGIN]),
        ("text holds a signature line", _raw_note(b"a\n\n" + line(b"a\n")), [ORIGIN]),
        ("text is not ASCII", _raw_note("è subito sera\u2028\x85\x7f\n".encode()), [ORIGIN]),
        ("unknown key before", body + other + mine, [ORIGIN]),
        ("unknown key after", body + mine + other, [ORIGIN]),
        ("key of the same name that is not known", body + rotated + mine, [ORIGIN]),
        ("the same signature twice", body + mine + mine, [ORIGIN]),
        ("unknown signature of one byte", body + mine + DASH + b"x AAAAAAA=\n", [ORIGIN]),
        ("a hundred signatures", body + other * 99 + mine, [ORIGIN]),
        ("a note of 1000000 bytes", _filled(1_000_000), [ORIGIN]),
    ]
    refused: list[tuple[str, bytes, str, str]] = [
        ("empty", b"", "FormatError", "blank line"),
        ("text only", text[:5] + b"\n", "FormatError", "blank line"),
        ("no signature line", body, "FormatError", "em dash"),
        ("no blank line", b"a\n" + line(b"a\n"), "FormatError", "blank line"),
        ("last line feed missing", good[:-1], "FormatError", "complete signature line"),
        ("trailing line feed", good + b"\n", "FormatError", "complete signature line"),
        ("trailing junk", good + b"junk", "FormatError", "complete signature line"),
        ("trailing junk line", good + b"junk\n", "FormatError", "em dash"),
        ("trailing space in a line", good[:-1] + b" \n", "FormatError", "base64"),
        ("CRLF", good.replace(b"\n", b"\r\n"), "FormatError", "control character"),
        ("signed CRLF", _raw_note(b"a\r\n"), "FormatError", "control character"),
        ("signed tab", _raw_note(b"a\tb\n"), "FormatError", "control character"),
        ("signed NUL", _raw_note(b"a\0\n"), "FormatError", "control character"),
        ("signed invalid UTF-8", _raw_note(b"\xff\n"), "FormatError", "UTF-8"),
        ("signed surrogate", _raw_note(b"\xed\xa0\x80\n"), "FormatError", "UTF-8"),
        ("hyphen for the dash", good.replace(DASH, b"- "), "FormatError", "em dash"),
        ("two spaces", good.replace(DASH, DASH + b" "), "FormatError", "key name"),
        ("no key name", body + DASH + b" AAAAAAA=\n" + mine, "FormatError", "key name"),
        ("plus in the key name", body + DASH + b"a+b AAAAAAA=\n" + mine, "FormatError", "key name"),
        ("wide space in the key name", body + DASH + b"a\xe3\x80\x80b AAAAAAA=\n" + mine,
         "FormatError", "key name"),
        ("no signature", body + DASH + b"a\n" + mine, "FormatError", "too short"),
        ("signature of 0 bytes", body + DASH + b"a AAAAAA==\n" + mine, "FormatError", "too short"),
        ("base64 without padding", good.replace(b"=\n", b"\n"), "FormatError", "base64"),
        ("base64 with tail bits", body + DASH + b"a AAAAAAB=\n" + mine, "FormatError", "base64"),
        ("base64 of the URL alphabet", body + DASH + b"a AAAA-_A=\n" + mine, "FormatError",
         "base64"),
        ("a bit of the text flipped", good.replace(b"one", b"ond"), "InvalidSignature", ORIGIN),
        ("last line feed of the text signed twice", b"a\n\n" + line(b"a\n\n"), "InvalidSignature",
         ORIGIN),
        ("signature of zeros", body + wrong, "InvalidSignature", ORIGIN),
        ("right then wrong by one key", body + mine + wrong, "InvalidSignature", ORIGIN),
        ("signature of 63 bytes", body + DASH + ORIGIN.encode() + b" "
         + b64encode((LOG.verifier.key_id + LOG.sign(text))[:-1]) + b"\n", "InvalidSignature",
         ORIGIN),
        ("signed by the other key only", body + other, "UnknownKey", "not signed"),
        ("signed by a new key of the same name", body + rotated, "UnknownKey", "not signed"),
        ("a hundred and one signatures", body + other * 100 + mine, "LimitExceeded", "100"),
        ("a note of 1000001 bytes", _filled(1_000_001), "LimitExceeded", "1,000,000"),
    ]  # fmt: skip
    return _noted(accepted, refused)


def _filled(size: int) -> bytes:
    """A well-signed note of so many bytes; kept in the vectors as its two ends and a count."""
    text = b"x" * (size - len(line(b"")) - 2) + b"\n"
    return _raw_note(text)


def _noted(
    accepted: list[tuple[str, bytes, list[str]]], refused: list[tuple[str, bytes, str, str]]
) -> list[Case]:
    good: list[Case] = [
        {"name": name, **_packed(data), "signed_by": names} for name, data, names in accepted
    ]
    bad: list[Case] = [
        {"name": name, **_packed(data), "error": error, "says": says}
        for name, data, error, says in refused
    ]
    return [{"name": "", "vkeys": [LOG.verifier.vkey]}, *good, *bad]


def _packed(data: bytes) -> Case:
    """Base64 of the note; of a long one without the x at its beginning, and how many there were."""
    short = data.lstrip(b"x") if len(data) > 100_000 else data
    return {"note": b64(short), "leading_x": len(data) - len(short)}


def checkpoints() -> list[Case]:
    root = root_of(HASHES[:7])
    encoded = b64(root)
    tail_bits = encoded.replace("=", "").rstrip()
    tail_bits = tail_bits[:-1] + chr(ord(tail_bits[-1]) + 1) + "="

    def signed(text: str) -> bytes:
        return sign_note(text, [LOG])

    def sized(size: str) -> bytes:
        return signed(f"{ORIGIN}\n{size}\n{encoded}\n")

    def rooted(text: str) -> bytes:
        return signed(f"{ORIGIN}\n7\n{text}\n")

    good = signed(f"{ORIGIN}\n7\n{encoded}\n")
    crlf = f"{ORIGIN}\r\n7\r\n{encoded}\r\n".encode()
    sizes = {
        "07": "leading zero", "+7": "plus sign", "-7": "minus sign", "7_0": "underscore",
        " 7": "space before", "7 ": "space after", "": "nothing", "7.0": "fraction",
        "0x7": "hexadecimal", "7e0": "exponent", "\u0667": "Arabic digit", "\uff17": "wide digit",
        "00": "two zeros", "-0": "minus zero", str(2**63): "2^63", str(2**64 + 7): "2^64+7",
        "7" * 1000: "a thousand digits", "7\u20287": "line separator inside",
    }  # fmt: skip
    accepted: list[Case] = [
        _opened("size 7", good, ORIGIN, 7, root),
        _opened("size 0", sign_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT), LOG), ORIGIN, 0,
                EMPTY_ROOT),
        _opened("size 2^63-1", sized(str(2**63 - 1)), ORIGIN, 2**63 - 1, root),
        _opened("cosigned by a key that is not known",
                sign_note(f"{ORIGIN}\n7\n{encoded}\n", [OTHER, LOG]), ORIGIN, 7, root),
    ]  # fmt: skip
    refused: list[tuple[str, bytes, str, str]] = [
        *((f"size with {what}", sized(text), "FormatError", "size is not")
          for text, what in sizes.items()),
        ("root of 31 bytes", rooted(b64(root[:31])), "FormatError", "not 31"),
        ("root of 33 bytes", rooted(b64(root + b"\0")), "FormatError", "not 33"),
        ("root of 0 bytes", rooted(""), "FormatError", "not 0"),
        ("root in base64 with tail bits", rooted(tail_bits), "FormatError", "base64"),
        ("root in base64 without padding", rooted(encoded.rstrip("=")), "FormatError", "base64"),
        ("root in base64 with a space", rooted(encoded + " "), "FormatError", "base64"),
        ("root in base64 with junk inside", rooted("!" + encoded), "FormatError", "base64"),
        ("root in base64 of the URL alphabet", rooted("-_" + encoded[2:]), "FormatError", "base64"),
        ("root in hexadecimal", rooted(root.hex()), "FormatError", "root hash"),
        ("root in base64 twice", rooted(encoded + encoded), "FormatError", "base64"),
        ("CRLF", _raw_note(crlf), "FormatError", "control character"),
        ("origin empty", signed(f"\n7\n{encoded}\n"), "FormatError", "origin"),
        ("origin missing", signed(f"7\n{encoded}\n"), "FormatError", "three complete lines"),
        ("root missing", signed(f"{ORIGIN}\n7\n"), "FormatError", "three complete lines"),
        ("one line", signed(f"{ORIGIN}\n"), "FormatError", "three complete lines"),
        ("extension line", signed(f"{ORIGIN}\n7\n{encoded}\nmore\n"), "FormatError", "extension"),
        ("blank line after", signed(f"{ORIGIN}\n7\n{encoded}\n\n"), "FormatError", "extension"),
        ("blank line between", signed(f"{ORIGIN}\n\n7\n{encoded}\n"), "FormatError", "extension"),
        ("trailing junk", good + b"junk", "FormatError", "complete signature line"),
        ("text of 3000 bytes", signed("x" * 3000 + f"\n7\n{encoded}\n"), "FormatError", "lines"),
        ("size 0 with another root", sized("0"), "FormatError", "empty tree"),
        ("another log's origin under this log's key", signed(f"{OTHER.name}\n7\n{encoded}\n"),
         "UnknownKey", "origin"),
        ("this log's origin under another key", sign_note(f"{ORIGIN}\n7\n{encoded}\n", [OTHER]),
         "UnknownKey", "not signed"),
        ("size edited after signing", good.replace(b"\n7\n", b"\n8\n"), "InvalidSignature", ORIGIN),
    ]  # fmt: skip
    bad: list[Case] = [
        {"name": name, "note": b64(data), "error": error, "says": says}
        for name, data, error, says in refused
    ]
    return [{"name": "", "vkeys": [LOG.verifier.vkey]}, *accepted, *bad]


def _opened(name: str, data: bytes, origin: str, size: int, root: bytes) -> Case:
    return {"name": name, "note": b64(data), "origin": origin, "size": size, "root": b64(root)}


def _mth(begin: int, end: int) -> bytes:
    """MTH(D[begin:end]) as RFC 6962 section 2.1 defines it, for paths written out by hand."""
    if end - begin == 1:
        return HASHES[begin]
    middle = begin + (1 << (end - begin - 1).bit_length() - 1)
    return node_hash(_mth(begin, middle), _mth(middle, end))


def _recut(proof: list[bytes]) -> list[tuple[str, list[bytes]]]:
    """The same bytes in other nodes, and other numbers of nodes: none of them is a proof."""
    first, second = proof[0], proof[1]
    rest, all_bytes = proof[2:], b"".join(proof)
    return [
        ("last byte of node 0 moved to node 1", [first[:-1], first[-1:] + second, *rest]),
        ("first byte of node 1 moved to node 0", [first + second[:1], second[1:], *rest]),
        ("nodes 0 and 1 joined", [first + second, *rest]),
        ("nodes 0 and 1 joined, node 1 empty", [first + second, b"", *rest]),
        ("node 0 cut into halves", [first[:16], first[16:], second, *rest]),
        ("all nodes joined", [all_bytes]),
        ("node 0 of 31 bytes", [first[:31], second, *rest]),
        ("node 0 of 33 bytes", [first + b"\0", second, *rest]),
        ("last node of 31 bytes", [*proof[:-1], proof[-1][:31]]),
        ("last node of 33 bytes", [*proof[:-1], proof[-1] + b"\0"]),
        ("node 0 empty", [b"", second, *rest]),
        ("first sibling missing", proof[1:]),
        ("last sibling missing", proof[:-1]),
        ("no siblings", []),
        ("extra sibling before", [bytes(32), *proof]),
        ("extra sibling after", [*proof, bytes(32)]),
        ("first sibling twice", [first, *proof]),
        ("last sibling twice", [*proof, proof[-1]]),
        ("an empty node after", [*proof, b""]),
        ("siblings 0 and 1 swapped", [second, first, *rest]),
        ("siblings reversed", proof[::-1]),
        ("a bit of sibling 0 flipped", [_flip(first), second, *rest]),
        ("a bit of the last sibling flipped", [*proof[:-1], _flip(proof[-1])]),
    ]


def _flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 16]) + data[1:]


def inclusion() -> list[Case]:
    # Leaf 4 of 7: sibling leaf 5, then leaf 6 alone at the border, then leaves 0 to 3.
    proof = [HASHES[5], HASHES[6], _mth(0, 4)]
    leaf, root = HASHES[4], _mth(0, 7)

    def case(name: str, error: bool, *, leaf: bytes = leaf, index: int = 4, size: int = 7,
             proof: list[bytes] = proof, root: bytes = root) -> Case:  # fmt: skip
        return {
            "name": name, "leaf_hash": b64(leaf), "index": index, "size": size,
            "proof": [b64(node) for node in proof], "root": b64(root),
            "error": "InvalidProof" if error else None,
        }  # fmt: skip

    eighth = [HASHES[1], _mth(2, 4), _mth(4, 8)]
    joined = leaf + proof[0]
    return [
        case("leaf 4 of 7", False),
        case("leaf 6 of 7", False, leaf=HASHES[6], index=6, proof=[_mth(4, 6), _mth(0, 4)]),
        case("leaf 0 of 8", False, leaf=HASHES[0], index=0, size=8, proof=eighth, root=_mth(0, 8)),
        case("leaf 0 of 1", False, leaf=HASHES[0], index=0, size=1, proof=[], root=HASHES[0]),
        case("leaf 256 of 300", False, leaf=HASHES[256], index=256, size=300,
             proof=[HASHES[257], _mth(258, 260), _mth(260, 264), _mth(264, 272), _mth(272, 288),
                    _mth(288, 300), _mth(0, 256)], root=_mth(0, 300)),
        # A proof binds neither index nor size: this is why the size comes from a checkpoint.
        case("size is not bound: leaf 0 of 8 passes as leaf 0 of 7", False, leaf=HASHES[0], index=0,
             proof=eighth, root=_mth(0, 8)),
        *(case(name, True, proof=nodes) for name, nodes in _recut(proof)),
        case("byte of the leaf hash moved to node 0", True, leaf=joined[:31],
             proof=[joined[31:], *proof[1:]]),
        case("leaf hash of 31 bytes", True, leaf=leaf[:31]),
        case("leaf hash of 33 bytes", True, leaf=leaf + b"\0"),
        case("leaf hash empty", True, leaf=b""),
        case("root of 31 bytes", True, root=root[:31]),
        case("root of 33 bytes", True, root=root + b"\0"),
        case("root empty", True, root=b""),
        case("root of the empty tree", True, root=EMPTY_ROOT),
        case("root of another size", True, root=_mth(0, 8)),
        case("an inner node as a leaf", True, leaf=_mth(4, 6), index=2, size=4,
             proof=[HASHES[6], _mth(0, 4)]),
        case("another leaf", True, leaf=HASHES[3]),
        case("index+1", True, index=5),
        case("index-1", True, index=3),
        case("index^2", True, index=6),
        case("index is size", True, index=7),
        case("index beyond size", True, index=1 << 40),
        case("index negative", True, index=-1),
        case("size+1 at the border", True, leaf=HASHES[6], index=6, size=8,
             proof=[_mth(4, 6), _mth(0, 4)]),
        case("size-1", True, size=6),
        case("size*2", True, size=14),
        case("size/2", True, size=3),
        case("size 0", True, size=0),
        case("size negative", True, size=-7),
        case("size of a billion", True, size=10**9),
        case("size 2^63", True, size=1 << 63),
        case("size 2^64+7", True, size=(1 << 64) + 7),
        case("size 0 and root of the empty tree", True, index=0, size=0, proof=[], root=EMPTY_ROOT),
    ]  # fmt: skip


def consistency() -> list[Case]:
    # From 6 to 7 the old tree ends with the subtree of leaves 4 and 5.
    proof = [_mth(4, 6), HASHES[6], _mth(0, 4)]
    old_root, root = _mth(0, 6), _mth(0, 7)

    def case(name: str, error: bool, *, old_size: int = 6, old_root: bytes = old_root,
             size: int = 7, root: bytes = root, proof: list[bytes] = proof) -> Case:  # fmt: skip
        return {
            "name": name, "old_size": old_size, "old_root": b64(old_root), "size": size,
            "root": b64(root), "proof": [b64(node) for node in proof],
            "error": "InvalidProof" if error else None,
        }  # fmt: skip

    seven = [HASHES[6], HASHES[7], _mth(4, 6), _mth(0, 4)]
    pair = seven[0] + seven[1]
    return [
        case("6 to 7", False),
        case("7 to 8", False, old_size=7, old_root=root, size=8, root=_mth(0, 8), proof=seven),
        case("4 to 7", False, old_size=4, old_root=_mth(0, 4), proof=[_mth(4, 7)]),
        case("1 to 8", False, old_size=1, old_root=HASHES[0], size=8, root=_mth(0, 8),
             proof=[HASHES[1], _mth(2, 4), _mth(4, 8)]),
        case("7 to 7", False, old_size=7, old_root=root, proof=[]),
        case("255 to 257", False, old_size=255, old_root=_mth(0, 255), size=257, root=_mth(0, 257),
             proof=[HASHES[254], HASHES[255], *(_mth(256 - 2 * w, 256 - w) for w in
                    (2, 4, 8, 16, 32, 64, 128)), HASHES[256]]),
        *(case(name, True, proof=nodes) for name, nodes in _recut(proof)),
        # Both folds hash these two nodes as one string, so their cut must be checked.
        case("7 to 8, byte moved from node 0 to node 1", True, old_size=7, old_root=root, size=8,
             root=_mth(0, 8), proof=[pair[:31], pair[31:], *seven[2:]]),
        case("7 to 8, byte moved from node 1 to node 0", True, old_size=7, old_root=root, size=8,
             root=_mth(0, 8), proof=[pair[:33], pair[33:], *seven[2:]]),
        case("roots swapped", True, old_root=root, root=old_root),
        case("sizes swapped", True, old_size=7, size=6),
        case("roots and sizes swapped", True, old_size=7, old_root=root, size=6, root=old_root),
        case("old root of 31 bytes", True, old_root=old_root[:31]),
        case("old root of 33 bytes", True, old_root=old_root + b"\0"),
        case("new root of 31 bytes", True, root=root[:31]),
        case("new root of 33 bytes", True, root=root + b"\0"),
        case("a bit of the old root flipped", True, old_root=_flip(old_root)),
        case("a bit of the new root flipped", True, root=_flip(root)),
        case("old size+1", True, old_size=7),
        case("old size-1", True, old_size=5),
        case("old size 0", True, old_size=0, old_root=EMPTY_ROOT),
        case("old size 0 without siblings", True, old_size=0, old_root=EMPTY_ROOT, proof=[]),
        case("old size negative", True, old_size=-6),
        case("new size+1", True, size=8),
        case("new size is the old", True, size=6),
        case("new size of a billion", True, size=10**9),
        case("new size 2^63", True, size=1 << 63),
        case("one size and two roots", True, old_size=7, proof=[]),
        case("one size, one root and a sibling", True, old_size=7, old_root=root, proof=[root]),
        case("one size and roots of 31 bytes", True, old_size=7, old_root=root[:31],
             root=root[:31], proof=[]),
    ]  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
