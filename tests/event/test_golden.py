"""The bytes of version 1 stay: golden files, made again, compared and read back."""

import json
from typing import Any

import pytest

from audit.event.envelope import decode_event
from audit.event.row import Change, decode_row
from audit.event.schema import SchemaBook, declare
from audit.event.signing import SignatureCheck, check_event
from audit.event.values import from_json
from audit.tlog.keys import Verifier
from tests.event.exact import same
from tests.event.make_golden import EVENTS, GOLDEN, golden, text_of

MADE = golden()


def read(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text())


@pytest.mark.parametrize("name", sorted(MADE))
def test_golden_files_come_out_the_same(name: str) -> None:
    assert (GOLDEN / name).read_text() == text_of(MADE[name])


def test_no_golden_file_is_left_over() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(MADE)


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_golden_events_read_back(name: str) -> None:
    assert decode_event(bytes.fromhex(read("event.v1.json")["events"][name])) == EVENTS[name]


def test_golden_rows_read_back() -> None:
    for row in read("row.v1.json")["rows"].values():
        expected = Change(row["image"], from_json(row["before"]), from_json(row["after"]))  # type: ignore[arg-type]
        assert same(decode_row(bytes.fromhex(row["bytes"])), expected)


def test_golden_signatures_verify() -> None:
    signed = read("signature.json")
    verifier = Verifier.parse(signed["vkey"])
    for name, data in read("event.v1.json")["events"].items():
        signature = bytes.fromhex(signed["signatures"][name])
        found, _ = check_event(bytes.fromhex(data), signature, [verifier])
        assert found is SignatureCheck.VALID


def test_the_golden_declared_row_reads_back() -> None:
    expected = read("declared.json")
    declared = declare(expected["schema"])
    assert declared.aliases == {"dept": "dpt"}
    book = SchemaBook()
    known = book.get(book.add(expected["change_canonical"].encode()))
    assert known is not None
    change = known.decode(bytes.fromhex(expected["bytes"]))
    assert same(change, Change("full", None, from_json(expected["row"])))  # type: ignore[arg-type]
