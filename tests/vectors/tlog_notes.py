"""Notes and checkpoints, good and bad, each named by what was done to it.

What a reader must answer is written down by hand, never computed by the code that is tested.
"""

from base64 import b64encode

from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.hashing import EMPTY_ROOT
from audit.tlog.keys import Ed25519Signer
from audit.tlog.merkle import root_of
from audit.tlog.note import sign_note
from tests.vectors.tlog_common import HASHES, LOG, ORIGIN, OTHER, ROTATED, Case, b64

DASH = "\u2014 ".encode()


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
        ("no signature line", body, "FormatError", "complete signature line"),
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
