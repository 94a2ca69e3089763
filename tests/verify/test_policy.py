"""Policies: strict reading, round trips, look-alike keys, quorums."""

import base64
import string
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import AuditError, FormatError, LimitExceeded, NotFound, Unavailable
from audit.tlog.keys import Ed25519Signer
from audit.verify.policy import (
    MAX_POLICY_BYTES,
    MAX_POLICY_ITEMS,
    Policy,
    ProducerKey,
    producer_line,
)


def vkey(name: str, number: int = 1) -> str:
    return Ed25519Signer.from_seed(name, bytes([number]) * 32).verifier.vkey


def witness_vkey(name: str, number: int = 1, kind: int = 4, length: int = 32) -> str:
    key = bytes([kind]) + bytes([number]) * length
    key_id = sha256(name.encode() + b"\n" + key).digest()[:4].hex()
    return f"{name}+{key_id}+{base64.b64encode(key).decode()}"


LOG = vkey("example.com/log")
FULL = f"""# whom we trust
log {LOG} https://example.com/log
\tlog   {vkey("example.com/other", 2)}

witness W1 {witness_vkey("w1.example", 1)} https://w1.example/
witness W2 {witness_vkey("w2.example", 2)}
witness W3 {witness_vkey("w3.example", 3, 6, 1312)}
   # a comment after white space
group pair 2 W1 W2
group either any pair W3
quorum either
producer crm {vkey("crm", 3)}
producer web {vkey("web", 4)} 10
producer old {vkey("old", 5)} 0 99
"""


def test_a_whole_policy_is_read() -> None:
    policy = Policy.from_text(FULL)
    assert [key.name for key in policy.logs] == ["example.com/log", "example.com/other"]
    assert [witness.key_name for witness in policy.witnesses] == [
        "w1.example",
        "w2.example",
        "w3.example",
    ]
    assert [(g.name, g.threshold, g.members) for g in policy.groups] == [
        ("pair", 2, ("W1", "W2")),
        ("either", 1, ("pair", "W3")),
    ]
    assert policy.quorum == "either"
    ranges = [(p.name, p.first_index, p.last_index) for p in policy.producers]
    assert ranges == [("crm", 0, None), ("web", 10, None), ("old", 0, 99)]
    assert policy.keys_of("example.com/log")[0].vkey == LOG
    assert policy.keys_of("example.com/unknown") == ()
    assert policy.warnings() == []


def test_what_is_written_reads_back() -> None:
    policy = Policy.from_text(FULL)
    assert Policy.from_text(policy.to_text()) == policy
    assert policy.to_text().startswith(f"log {LOG} https://example.com/log\n")


def test_the_quorum_line_may_stand_before_producers_and_the_last_line_feed_may_miss() -> None:
    policy = Policy.from_text(f"log {LOG}\nquorum none\nproducer crm {vkey('crm')}")
    assert len(policy.producers) == 1


@pytest.mark.parametrize(
    ("witnesses", "met"),
    [
        ((), False),
        (("W1",), False),
        (("W1", "W2"), True),
        (("W3",), True),
        (("W1", "nobody"), False),
        (("pair",), False),
    ],
)
def test_quorum(witnesses: tuple[str, ...], met: bool) -> None:
    assert Policy.from_text(FULL).quorum_met(witnesses) is met


def test_quorum_of_one_witness_and_of_none() -> None:
    one = Policy.from_text(f"witness W1 {witness_vkey('w1')}\nquorum W1\n")
    assert not one.quorum_met([]) and one.quorum_met(["W1"])
    assert Policy.from_text("quorum none\n").quorum_met([])


W1 = witness_vkey("w1")
W2 = witness_vkey("w2", 2)
REFUSED = {
    "no quorum": f"log {LOG}\n",
    "empty": "",
    "two quorums": "quorum none\nquorum none\n",
    "quorum of nobody": "quorum W1\n",
    "quorum defined later": f"quorum W1\nwitness W1 {W1}\n",
    "quorum without a name": "quorum\n",
    "quorum of two": "quorum a b\n",
    "one key for two logs": f"log {vkey('a')}\nlog {vkey('b')}\nquorum none\n",
    "one log twice": f"log {LOG}\nlog {LOG}\nquorum none\n",
    "one key for two witnesses": f"witness a {witness_vkey('a')}\nwitness b {witness_vkey('b')}\n"
    "quorum none\n",
    "one name for two witnesses": f"witness a {W1}\nwitness a {W2}\nquorum none\n",
    "a witness called none": f"witness none {W1}\nquorum none\n",
    "a group called none": f"witness a {W1}\ngroup none any a\nquorum none\n",
    "a group called like a witness": f"witness a {W1}\ngroup a any a\nquorum none\n",
    "a group without members": f"witness a {W1}\ngroup g any\nquorum none\n",
    "a group of none": "group g any none\nquorum none\n",
    "a member defined later": f"group g any a\nwitness a {W1}\nquorum none\n",
    "a member of two groups": f"witness a {W1}\ngroup g any a\ngroup h any a\nquorum none\n",
    "a member twice": f"witness a {W1}\ngroup g 2 a a\nquorum none\n",
    "a group of itself": "group g any g\nquorum none\n",
    "threshold 0": f"witness a {W1}\ngroup g 0 a\nquorum none\n",
    "threshold 2 of 1": f"witness a {W1}\ngroup g 2 a\nquorum none\n",
    "threshold 01": f"witness a {W1}\ngroup g 01 a\nquorum none\n",
    "threshold +1": f"witness a {W1}\ngroup g +1 a\nquorum none\n",
    "threshold in other digits": f"witness a {W1}\ngroup g \u0661 a\nquorum none\n",
    "threshold All": f"witness a {W1}\ngroup g All a\nquorum none\n",
    "a log key as a witness": f"witness a {LOG}\nquorum none\n",
    "a witness key as a log": f"log {W1}\nquorum none\n",
    "a witness key of the wrong length": f"witness a {witness_vkey('a', 1, 4, 31)}\nquorum none\n",
    "a wrong key id": f"log example.com/log+00000000+{LOG.split('+', 2)[2]}\nquorum none\n",
    "a wrong witness key id": f"witness a w1+00000000+{W1.split('+', 2)[2]}\nquorum none\n",
    "a log without a key": "log\nquorum none\n",
    "a log with two urls": f"log {LOG} a b\nquorum none\n",
    "an unknown word": "logs x\nquorum none\n",
    "a word in capitals": f"LOG {LOG}\nquorum none\n",
    "carriage returns": f"log {LOG}\r\nquorum none\r\n",
    "a form feed as space": f"log\x0c{LOG}\nquorum none\n",
    "a no-break space": f"log\u00a0{LOG}\nquorum none\n",
    "a NUL": "quorum none\x00\n",
    "a DEL": "# \x7f\nquorum none\n",
    "a comment after an item": f"log {LOG} https://a # why\nquorum none\n",
    "a producer without a key": "producer crm\nquorum none\n",
    "a producer with three indexes": f"producer crm {vkey('crm')} 1 2 3\nquorum none\n",
    "a producer with three in a log": f"producer crm {vkey('crm')} 1 2 3 log=a\nquorum none\n",
    "a producer in a log without a name": f"producer crm {vkey('crm')} log=\nquorum none\n",
    "a producer in a log with a plus": f"producer crm {vkey('crm')} log=a+b\nquorum none\n",
    "a producer in two logs": f"producer crm {vkey('crm')} log=a log=b\nquorum none\n",
    "a log before the index": f"producer crm {vkey('crm')} log=a 5\nquorum none\n",
    "a producer that ends before it begins": f"producer crm {vkey('crm')} 5 4\nquorum none\n",
    "a producer from 007": f"producer crm {vkey('crm')} 007\nquorum none\n",
    "a producer beyond 2^63": f"producer crm {vkey('crm')} 9223372036854775808\nquorum none\n",
    "a producer with a plus": f"producer c+rm {vkey('crm')}\nquorum none\n",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(FormatError) as raised:
        Policy.from_text(text)
    assert "\n" not in str(raised.value)
    with pytest.raises(FormatError):
        Policy.from_text(text.encode())


def test_the_message_names_the_line() -> None:
    with pytest.raises(FormatError, match="policy line 3: 'lag' begins no line that is known"):
        Policy.from_text(f"# hello\nlog {LOG}\nlag x\nquorum none\n")


def test_octets_beyond_ascii_are_opaque() -> None:
    text = b"witness \xff\xfe " + W1.encode() + b"\n# caf\xe9\nquorum \xff\xfe\n"
    policy = Policy.from_text(text)
    assert not policy.quorum_met([]) and policy.quorum_met([policy.quorum])
    kelvin, letter = "\u212a", "K"
    both = f"witness {kelvin} {W1}\nwitness {letter} {W2}\nquorum {kelvin}\n"
    assert not Policy.from_text(both).quorum_met([letter])


def test_limits() -> None:
    with pytest.raises(LimitExceeded):
        Policy.from_text(b"#" * (MAX_POLICY_BYTES + 1))
    producer = ProducerKey("p", Ed25519Signer.from_seed("p", bytes(32)).verifier)
    lines = [producer_line(producer)] * MAX_POLICY_ITEMS
    assert len(Policy.from_text("\n".join([*lines, "quorum none"])).producers) == MAX_POLICY_ITEMS
    with pytest.raises(LimitExceeded):
        Policy.from_text("\n".join([*lines, lines[0], "quorum none"]))


LOOK_ALIKES = {
    "one log name, two keys": [f"log {vkey('a', 1)}", f"log {vkey('a', 2)}"],
    "one producer name, two keys": [f"producer p {vkey('p', 1)}", f"producer p {vkey('p', 2)} 5"],
    "one key, two producers": [f"producer p {vkey('p')}", f"producer q {vkey('p')}"],
    "names that differ in case": [f"producer crm {vkey('a')}", f"producer CRM {vkey('b', 2)}"],
    "a producer with a log's key": [f"log {vkey('a')}", f"producer p {vkey('p')}"],
}


@pytest.mark.parametrize("lines", LOOK_ALIKES.values(), ids=LOOK_ALIKES.keys())
def test_look_alike_keys_are_warnings(lines: list[str]) -> None:
    warnings = Policy.from_text("\n".join([*lines, "quorum none", ""])).warnings()
    assert [code for code, _ in warnings] == ["look_alike_key"]


def test_a_rotated_key_is_no_look_alike() -> None:
    lines = f"producer p {vkey('p', 1)} 0 41\nproducer p {vkey('p', 2)} 42\nquorum none\n"
    policy = Policy.from_text(lines)
    assert policy.warnings() == []
    first, second = policy.producers
    assert [first.covers(i) for i in (0, 41, 42)] == [True, True, False]
    assert [second.covers(i) for i in (41, 42)] == [False, True]


def test_from_files_and_keys(tmp_path: Path) -> None:
    path = tmp_path / "audit.policy"
    path.write_text(FULL)
    policy = Policy.from_file(path, beside_store=True)
    assert policy == Policy.from_text(FULL)
    assert policy.beside_store and str(path) in policy.description
    assert Policy.from_vkey(LOG).logs == policy.logs[:1]
    with pytest.raises(NotFound):
        Policy.from_file(tmp_path / "none")
    with pytest.raises(Unavailable):
        Policy.from_file(tmp_path)
    with pytest.raises(FormatError):
        Policy.from_vkeys([vkey("a"), vkey("b")])


@given(st.binary(max_size=300))
def test_bytes_are_a_policy_or_refused(data: bytes) -> None:
    try:
        policy = Policy.from_text(data)
    except AuditError as error:
        assert str(error)
    else:
        assert Policy.from_text(policy.to_text()) == policy


WORDS = ["log", "witness", "group", "quorum", "producer", "none", "any", "all", "1", "2", "a", "b"]
ITEMS = [*WORDS, LOG, W1, W2, vkey("p", 9), "#", "\t", "https://x"]


@given(st.lists(st.lists(st.sampled_from(ITEMS), max_size=5), max_size=6))
def test_lines_of_the_right_words_are_a_policy_or_refused(lines: list[list[str]]) -> None:
    try:
        policy = Policy.from_text("\n".join(" ".join(line) for line in lines))
    except AuditError as error:
        assert str(error)
    else:
        assert Policy.from_text(policy.to_text()) == policy


@given(st.integers(0, len(FULL) - 1), st.sampled_from(string.printable))
def test_one_changed_character_is_still_a_policy_or_refused(at: int, character: str) -> None:
    try:
        Policy.from_text(FULL[:at] + character + FULL[at + 1 :])
    except AuditError as error:
        assert str(error)


def test_ranges_of_one_log_go_before_those_of_every_log() -> None:
    crm, web = vkey("crm", 3), vkey("web", 4)
    text = (
        f"quorum none\nproducer crm {crm} 0 9\nproducer crm {crm} 0 99 log=a/t/0\n"
        f"producer crm {crm} 200 log=a/t/0\nproducer web {web}\nproducer crm {crm} log=a/t/1\n"
    )
    policy = Policy.from_text(text)
    assert policy.to_text() == text

    def ranges(origin: str) -> list[tuple[str, int, int | None]]:
        return [(k.name, k.first_index, k.last_index) for k in policy.producers_in(origin)]

    assert ranges("a") == [("crm", 0, 9), ("web", 0, None)]
    assert ranges("a/t/0") == [("crm", 0, 99), ("crm", 200, None), ("web", 0, None)]
    assert ranges("a/t/1") == [("web", 0, None), ("crm", 0, None)]
    assert policy.warnings() == []
