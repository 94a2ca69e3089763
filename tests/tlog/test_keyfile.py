"""Key files: written once, read back, refused in one clear line."""

import os
import stat
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import AuditError, InvalidInput, LimitExceeded, Unavailable
from audit.tlog.keyfile import MAX_KEY_FILE_BYTES, MAX_PASSPHRASE_BYTES, read_key, write_key
from audit.tlog.keys import Ed25519Signer

SEED = bytes(range(32))
NAME = "ledger.example/main"
VKEY = Ed25519Signer.from_seed(NAME, SEED).verifier.vkey
SECRET = b"correct horse"


@pytest.mark.parametrize("passphrase", [None, SECRET, b"\x00\xff", b"x" * MAX_PASSPHRASE_BYTES])
def test_round_trip(tmp_path, passphrase):
    path = tmp_path / "key"
    write_key(path, NAME, SEED, passphrase)
    assert read_key(path, passphrase) == (NAME, SEED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith(f"attestory key {VKEY}\n-----BEGIN ")
    assert os.listdir(tmp_path) == ["key"]
    assert (SEED in path.read_bytes()) is False


def test_a_passphrase_that_is_not_needed(tmp_path):
    write_key(tmp_path / "key", NAME, SEED, None)
    assert read_key(str(tmp_path / "key"), SECRET) == (NAME, SEED)


@pytest.mark.parametrize("passphrase", [None, SECRET])
def test_other_tools_read_it(tmp_path, passphrase):
    write_key(tmp_path / "key", NAME, SEED, passphrase)
    key = load_pem_private_key((tmp_path / "key").read_bytes(), passphrase)
    assert isinstance(key, Ed25519PrivateKey)
    assert key.private_bytes_raw() == SEED


@pytest.mark.parametrize("passphrase", [None, SECRET])
@pytest.mark.parametrize("crlf", [False, True])
def test_a_file_of_another_tool(tmp_path, passphrase, crlf):
    protection = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
    (tmp_path / "key").write_bytes(pem.replace(b"\n", b"\r\n") if crlf else pem)
    assert read_key(tmp_path / "key", passphrase) == (None, SEED)


def test_never_overwritten(tmp_path):
    path = tmp_path / "key"
    path.write_text("precious")
    with pytest.raises(InvalidInput, match="exists already"):
        write_key(path, NAME, SEED, None)
    assert path.read_text() == "precious"
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="exists already"):
        write_key(link, NAME, SEED, None)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("name", "seed", "passphrase", "error"),
    [
        (NAME, SEED, b"", InvalidInput),
        (NAME, SEED, b"x" * (MAX_PASSPHRASE_BYTES + 1), LimitExceeded),
        (NAME, SEED[:31], None, InvalidInput),
        ("two words", SEED, None, InvalidInput),
        ("line\nfeed", SEED, None, InvalidInput),
    ],
)
def test_nothing_is_written_for_a_bad_key(tmp_path, name, seed, passphrase, error):
    with pytest.raises(error):
        write_key(tmp_path / "key", name, seed, passphrase)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["missing/key", "file/key", "nul\0"])
def test_no_folder(tmp_path, path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="no folder"):
        write_key(f"{tmp_path}/{path}", NAME, SEED, None)


def test_a_disk_that_refuses(tmp_path):
    program = (
        "import resource, signal\n"
        "from audit.tlog.keyfile import write_key\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))\n"
        f"write_key({str(tmp_path / 'key')!r}, 'a', bytes(32), None)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "Unavailable: cannot write the key file" in done.stderr
    assert os.listdir(tmp_path) == [], "nothing half-written stays"


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "key"
    write_key(path, NAME, SEED, SECRET)
    return path


@pytest.mark.parametrize(
    ("passphrase", "says"),
    [
        (None, "needs its passphrase"),
        (b"", "needs its passphrase"),
        (b"wrong", "the passphrase is wrong"),
        (SECRET[:-1], "the passphrase is wrong"),
        (b"x" * 10_000, "at most 1023"),
    ],
)
def test_passphrases(encrypted, passphrase, says):
    with pytest.raises(InvalidInput, match=says) as caught:
        read_key(encrypted, passphrase)
    assert "\n" not in str(caught.value)
    assert "wrong\\0" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_missing_and_unreadable(tmp_path):
    with pytest.raises(InvalidInput, match="no key file"):
        read_key(tmp_path / "key", None)
    with pytest.raises(InvalidInput, match="is not a key file"):
        read_key(tmp_path, None)
    with pytest.raises(InvalidInput, match="is not a key file"):
        read_key("nul\0", None)
    with pytest.raises(LimitExceeded, match="too large"):
        read_key("/dev/zero", None)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(Unavailable, match="cannot read"):
        read_key(tmp_path / "loop", None)
    (tmp_path / "large").write_bytes(b"x" * (MAX_KEY_FILE_BYTES + 1))
    with pytest.raises(LimitExceeded, match="too large"):
        read_key(tmp_path / "large", None)


def pem_of(key, kind=PrivateFormat.PKCS8):
    return key.private_bytes(Encoding.PEM, kind, NoEncryption())


ED25519 = pem_of(Ed25519PrivateKey.from_private_bytes(SEED))
OTHER_COMMENT = f"attestory key {Ed25519Signer.from_seed(NAME, bytes(32)).verifier.vkey}\n"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a private key"),
        (b"\0" * 100, "not a private key"),
        (b"\xff\xfe", "not a private key"),
        (b"junk\n" + ED25519, "not a private key"),
        (pem_of(ec.generate_private_key(ec.SECP256R1())), "not an Ed25519 key"),
        (pem_of(rsa.generate_private_key(65537, 2048)), "not an Ed25519 key"),
        (pem_of(Ed25519PrivateKey.from_private_bytes(SEED), PrivateFormat.OpenSSH),
         "not a private key"),
        (ED25519[:60], "does not end"),
        (ED25519[:-3], "does not end"),
        (ED25519 + b"junk", "does not end"),
        (ED25519 + ED25519, "does not end"),
        (ED25519.replace(b"MC4C", b"MC4D"), "damaged"),
        (ED25519.replace(b"MC4C", b"!!!!"), "damaged"),
        (b"attestory key \n" + ED25519, "first line"),
        (b"attestory key \xff\n" + ED25519, "first line"),
        (b"attestory key " + ED25519, "first line"),
        (OTHER_COMMENT.encode() + ED25519, "names another key"),
        (f"attestory key {VKEY}\n".encode() * 2 + ED25519, "not a private key"),
    ],
)  # fmt: skip
def test_not_a_key_file(tmp_path, data, says):
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(InvalidInput, match=says) as caught:
        read_key(tmp_path / "key", None)
    assert "\n" not in str(caught.value)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 220), st.binary(max_size=4))
def test_damage_anywhere(tmp_path, position, junk):
    good = f"attestory key {VKEY}\n".encode() + ED25519
    path = tmp_path / "key"
    path.write_bytes(good[:position] + junk + good[position + len(junk) :])
    try:
        name, seed = read_key(path, None)
    except AuditError:
        return
    assert seed == SEED
    assert name in (NAME, None)
