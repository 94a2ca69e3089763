"""`audit quarantine retry`: what could not be accepted is recorded after all, and never twice."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import audit.log.intake
from audit.errors import FormatError
from audit.event.envelope import EVENT_PREFIX, EVENT_SCHEMA
from audit.event.signing import sign_event
from audit.kafka.transport import Fetched
from audit.log.intake import Message, quarantine
from audit.log.retry import Retried, retried_event
from audit.log.source import SourceBatch
from audit.store import open_reader
from audit.tlog.hashing import leaf_hash
from audit.tlog.keys import Ed25519Signer
from audit.verify.findings import Report
from audit.verify.policy import Policy
from audit.verify.verifier import verify
from tests.cli.conftest import Cli
from tests.verify.layout import SCHEMA, TOPIC, Layout, event

CRM = Ed25519Signer.from_seed("crm", bytes([9]) * 32)


@pytest.fixture
def layout(ledger_dir: Path) -> Layout:
    """A ledger of a topic with two partitions, in the current folder."""
    layout = Layout(ledger_dir, 2)
    layout.feed(0, [SCHEMA, event(1)])
    layout.feed(1, [SCHEMA, event(2)])
    return layout


def refuse(layout: Layout, data: bytes, reason: str, signature: bytes | None = None) -> str:
    """Quarantine a message in log 2, as a consumer does; its POSITION."""
    at = layout.next_offsets[1]
    layout.next_offsets[1] += 1
    fetched = Fetched(at, b"user/1", data, signature)
    incoming = []
    layout.decoder.decode(1, [fetched], incoming)
    source = incoming[0].draft.source
    item = quarantine(Message(data, signature, source), reason)
    batch = SourceBatch(TOPIC, 1, 0, [item], at + 1)
    signer = layout.ledger.signer(2)
    outcome = layout.ledger.store.append_from(layout.leases[1], batch, signer).outcomes[0]
    return f"2/{outcome.index}"


def report_of(layout: Layout) -> Report:
    with open_reader(layout.url) as reader:
        return verify(reader, Policy.from_file("audit.policy"))


def test_what_a_newer_release_can_read_is_recorded_once(layout: Layout, cli: Cli) -> None:
    position = refuse(layout, event(3), "UNDECODABLE: unknown envelope version")
    before = layout.ledger.store.size(2)
    assert position in cli("quarantine", "list").out
    (done,) = cli("quarantine", "retry", position, "--reason", "release 2", "--json").json
    assert done["event_index"] == before
    shown = cli("show", f"2/{before}", "--json").json
    assert shown["event_id"] == "event-3" and shown["after"]["n"] == 3
    link = cli("show", f"2/{before + 1}", "--json").json
    assert (link["type"], link["reason"]) == ("quarantine.retried", "release 2")
    refused = cli("show", position, "--json").json
    assert link["data"] == {
        "index": int(position[2:]),
        "leaf_hash": refused["leaf_hash"],
        "event_index": before,
    }
    # Never twice, and the lists say so.
    again = cli("quarantine", "retry", position)
    assert f"was retried before, as entry 2/{before}" in again.out
    assert layout.ledger.store.size(2) == before + 2
    assert cli("quarantine", "retry", "--all").out == ""
    assert f" 2/{before} " in cli("quarantine", "list").out
    assert f"as 2/{before}" in cli("quarantine", "show", position).out
    assert cli("quarantine", "show", position, "--json").json["retried_as"] == before
    # The source goes on where it was, and all of it verifies.
    layout.feed(1, [event(4)])
    report = report_of(layout)
    assert report.ok and report.warnings == (), report.to_json()
    assert cli("replay", "user/3", "--json").json["row"]["n"] == 3


def test_what_arrived_meanwhile_is_only_linked(layout: Layout, cli: Cli) -> None:
    """Also after a crash between the event and its link."""
    position = refuse(layout, event(3), "UNDECODABLE: unknown envelope version")
    layout.feed(1, [event(3)])
    there = layout.ledger.store.size(2) - 1
    assert f"was recorded meanwhile as entry 2/{there}" in cli("quarantine", "retry", position).out
    assert layout.ledger.store.size(2) == there + 2
    assert report_of(layout).ok


def test_a_signature_whose_key_is_pinned_now(layout: Layout, cli: Cli, ledger_dir: Path) -> None:
    data = event(3)
    position = refuse(
        layout, data, "SIGNATURE_REQUIRED: it is signed with a key that the policy does not pin",
        sign_event(data, CRM),
    )  # fmt: skip
    assert "the policy pins no key of it" in cli("quarantine", "retry", position, code=1).out
    with (ledger_dir / "audit.policy").open("a") as policy:
        policy.write(f"producer crm {CRM.verifier.vkey}\n")
    assert "recorded as entry" in cli("quarantine", "retry", position).out
    report = report_of(layout)
    assert report.ok and report.logs[2].producer_signatures.checked == 1
    wrong = refuse(layout, event(4), "SIGNATURE_REQUIRED: x", sign_event(data, CRM))
    assert "does not hold" in cli("quarantine", "retry", wrong, code=1).out
    unsigned = refuse(layout, event(5), "SIGNATURE_REQUIRED: it is not signed")
    assert "have it sent again, signed" in cli("quarantine", "retry", unsigned, code=1).out
    undecodable = refuse(layout, event(6), "UNDECODABLE: x")
    options = ("--signatures", "require")
    assert "not signed" in cli("quarantine", "retry", undecodable, *options, code=1).out
    assert "recorded as" in cli("quarantine", "retry", undecodable).out


REFUSED = {
    "conflict": (event(2, actor="mallory"), None, "emit what it says under a new id"),
    "conflict by now": (event(2, actor="eve"), "UNDECODABLE: x", "under a new id"),
    "reserved": (event(7, source="audit"), None, "only the ledger itself"),
    "junk": (b"junk", None, "it is still refused: UNDECODABLE"),
    "oversize": (b"x" * 70_000, None, "have it sent again with large values in the blob store"),
    "tombstone": (None, None, "emit a delete of that key"),
    "framed": (b"\x00\x00\x00\x00\x07abc", None, "set AUDIT_REGISTRY"),
    "bad signature": (event(8), "SIGNATURE_MALFORMED: 3 bytes, not 68", "have it sent again"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_mended_is_said_with_what_to_do(layout: Layout, cli: Cli, name: str) -> None:
    data, reason, words = REFUSED[name]
    if reason is None:
        layout.feed(1, [data])
        position = f"2/{layout.ledger.store.size(2) - 1}"
    else:
        position = refuse(layout, data, reason)
    size = layout.ledger.store.size(2)
    assert words in cli("quarantine", "retry", position, code=1).out
    ran = cli("quarantine", "retry", "--all", "--json")
    assert [one["event_index"] for one in ran.json] == [None]
    assert "1 stays quarantined" in cli("quarantine", "retry", "--all").err
    assert layout.ledger.store.size(2) == size


def test_an_embedded_ledger_retries_too(
    cli: Cli, ledger_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(ledger_dir, 0)

    def too_old(data: bytes) -> None:
        raise FormatError("unknown envelope version")

    with monkeypatch.context() as patch:
        patch.setattr(audit.log.intake, "decode_event", too_old)
        layout.ledger.append([Message(event(3))])
    layout.ledger.append([Message(SCHEMA)])
    size = layout.ledger.store.size(0)
    assert "UNDECODABLE: unknown envelope" in cli("quarantine", "list").out
    assert f"recorded as entry 0/{size}" in cli("quarantine", "retry", "--all").out
    assert cli("replay", "user/3", "--json").json["row"]["n"] == 3
    assert report_of(layout).ok


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry that knows event.v1 as schema 7."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"schema": EVENT_SCHEMA.decode()}).encode()
            self.send_response(200 if self.path == "/schemas/ids/7" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("NO_PROXY", "*")
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_a_registry_knows_by_now(
    layout: Layout, cli: Cli, registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    framed = b"\x00\x00\x00\x00\x07" + event(3)[len(EVENT_PREFIX) :]
    position = refuse(layout, framed, "UNDECODABLE: unknown envelope version")
    monkeypatch.setenv("AUDIT_BUS", f"kafka://127.0.0.1:1/{TOPIC}?registry={registry}")
    assert "recorded as entry" in cli("quarantine", "retry", position).out
    report = report_of(layout)
    assert report.ok, report.to_json()


def test_a_link_that_lies_is_found(layout: Layout) -> None:
    """The link is in the log's signed bytes; that it is true is checked all the same."""
    position = refuse(layout, event(3), "UNDECODABLE: x")
    store, signer = layout.ledger.store, layout.ledger.signer(2)
    index = int(position[2:])
    event_index = layout.ledger.append([Message(event(4))], 2).outcomes[0].index
    with open_reader(layout.url) as reader:
        digest = leaf_hash(reader.leaf(2, index))
    for link in (
        Retried(index, digest, event_index),
        Retried(index + 1_000, digest, event_index),
        Retried(0, digest, 0),
    ):
        store.append_control(2, [retried_event(link)], signer)
    report = report_of(layout)
    assert [finding.code for finding in report.findings] == ["retry_differs"] * 3
    assert f"is what was quarantined at {index}; it is not" in report.findings[0].message


BAD = {
    "nothing": ((), "name POSITIONs, or say --all"),
    "both": (("2/1", "--all"), "name POSITIONs, or say --all"),
    "not quarantined": (("2/1",), "entry 2/1 is not quarantined"),
    "several logs": (("5",), "fits 3 logs"),
    "no such entry": (("2/99",), "no index 99"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_asked_wrongly(layout: Layout, cli: Cli, name: str) -> None:
    args, words = BAD[name]
    assert words in cli("quarantine", "retry", *args, code=2).err
