"""JSONL tables and ready-made events."""

import json
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from audit.capture.delivery.embedded import open_for_writing
from audit.capture.emitter import Emitter
from audit.capture.importer import ImportResult, import_events, import_file
from audit.errors import InvalidInput
from audit.event.jsonform import event_to_json
from audit.event.schema import SchemaBook
from audit.log.entry import Kind
from tests.capture.support import events, records, rows, url


def load(folder: Path, lines: list[str], **options: Any) -> ImportResult:
    path = folder / "data.jsonl"
    path.write_text("\n".join(lines))
    with open_for_writing(url(folder)) as ledger:
        return import_file(ledger, path, **{"entity": "item", "key": "id", **options})


def load_events(folder: Path, lines: list[str], **options: Any) -> ImportResult:
    with open_for_writing(url(folder)) as ledger:
        return import_events(ledger, BytesIO("\n".join(lines).encode()), **options)


def test_values_keep_their_types_and_absent_is_absent(tmp_path: Path) -> None:
    lines = [
        '{"id": 5, "d": {"$decimal": "1.50"}, "n": null, "f": 1.0, "o": {"a": [1]}}',
        "",
        '{"id": "5x", "$$k": "v"}',
    ]
    assert load(tmp_path, lines).created == 2
    assert rows(tmp_path, "item") == {
        "5": {"id": 5, "d": Decimal("1.50"), "n": None, "f": 1.0, "o": {"a": [1]}},
        "5x": {"id": "5x", "$k": "v"},
    }
    assert load(tmp_path, lines).skipped == 2


def test_snapshots_tell_null_from_absent(tmp_path: Path) -> None:
    load(tmp_path, ['{"id": 1, "a": null}', '{"id": 2}'], snapshot=True)
    result = load(tmp_path, ['{"id": 1}', '{"id": 2, "a": null}'], snapshot=True)
    assert result.updated == 2
    assert rows(tmp_path, "item") == {"1": {"id": 1}, "2": {"id": 2, "a": None}}


def test_composite_keys_and_valid_times(tmp_path: Path) -> None:
    lines = ['{"a": 1, "b": "x", "t": {"$date": "1970-01-02"}}', '{"a": 2, "b": "y", "t": null}']
    load(tmp_path, lines, key="a,b", valid_time="t")
    assert list(rows(tmp_path, "item")) == ['[1,"x"]', '[2,"y"]']
    assert [e.valid_time_us for e in events(tmp_path)] == [86_400_000_000, None]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: not a JSON object"),
        ("null", "line 2: not a JSON object"),
        ('{"x": 1}', "line 2: there is no key column id; it has x"),
        ('{"id": null}', "line 2: the key column id is null"),
        ('{"id": 1.5}', "line 2: "),
        ('{"id": 1, "id": 2}', "line 2: .*twice"),
        ('{"id": 1, "x": NaN}', "line 2: "),
        ('{"id": 1, "x": 99999999999999999999}', "line 2: "),
        ('{"id": 1, "x": ' + "[" * 100 + "]" * 100 + "}", "line 2: .*deep"),
        ('{"id": 1, "t": "soon"}', "line 2: t: "),
    ],
)
def test_a_bad_line_imports_nothing(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        load(tmp_path, ['{"id": 0, "t": null}', line], valid_time="t")
    assert events(tmp_path) == []


EVENT = {
    "event_id": "one",
    "type": "data.create",
    "source": "crm",
    "entity_type": "user",
    "entity_key": "5",
    "valid_time": "2026-01-02T03:04:05.678901Z",
    "actor": "alice",
    "after": {"dpt": "ISR"},
}


def test_ready_made_events(tmp_path: Path) -> None:
    lines = [
        json.dumps(EVENT),
        json.dumps({**EVENT, "event_id": "two", "type": "data.update", "log": 0, "index": 7}),
        json.dumps({"type": "review", "data": {"ok": True}}),
        json.dumps({**EVENT, "event_id": "three", "type": "data.delete", "after": None}),
    ]
    result = load_events(tmp_path, lines)
    assert (result.created, result.updated, result.deleted, result.other) == (1, 1, 1, 1)
    found = events(tmp_path)
    assert [e.source for e in found] == ["crm", "crm", "cli", "crm"]
    assert found[2].valid_time_us is None
    again = load_events(tmp_path, [lines[0], lines[1], lines[3]])
    assert (again.skipped, again.sealed) == (3, 0)


def test_another_event_under_a_known_id_is_a_conflict(tmp_path: Path) -> None:
    load_events(tmp_path, [json.dumps(EVENT)])
    result = load_events(tmp_path, [json.dumps({**EVENT, "actor": "bob"})], source="x")
    assert (result.conflicts, result.sealed) == (1, 0)
    assert [r.entry.kind for r in records(tmp_path)][-1] is Kind.QUARANTINED
    assert load_events(tmp_path, [json.dumps({**EVENT, "source": "other"})]).created == 1


def test_what_a_log_says_can_be_imported_again(tmp_path: Path) -> None:
    schema = {"type": "record", "name": "U", "fields": [{"name": "n", "type": "long"}]}
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    with Emitter(url(one), schemas={"user": schema}) as emit:
        emit.create("user", 1, {"n": 1})
        emit.update("user", 1, {"n": 2}, before={"n": 1})
        emit.create("item", "k", {"price": Decimal("1.50"), "b": b"\x00", "d": -0.0})
        emit.record("review", {"ok": True}, entity_type="prediction", entity_key="p")
        emit.delete("user", 1)
    book = SchemaBook.with_builtins()
    lines = []
    for record in records(one):
        if record.event and record.event.type == "schema":
            book.add(record.event.payload)
        if record.event and record.entry.kind is Kind.EVENT:
            lines.append(json.dumps(event_to_json(record.event, book)))
    load_events(two, lines)
    assert [e.event_id for e in events(two)] == [e.event_id for e in events(one)]
    assert events(two) == events(one)
    assert rows(two, "item") == rows(one, "item")
    assert load_events(one, lines).sealed == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2: not JSON"),
        ('{"type": "nonsense"}', "line 2: type"),
        ('{"type": "data.create", "entity_type": "user"}', "line 2: .*entity_key"),
        ('{"type": "review", "surprise": 1}', "line 2: unknown field 'surprise'"),
        ('{"type": "review", "event_id": "' + "x" * 200 + '"}', "line 2: "),
        ('{"type": "data.create", "entity_type": "run", "entity_key": 1, "after": {}}', "line 2"),
    ],
)
def test_a_bad_event_stops_with_its_line(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        load_events(tmp_path, [json.dumps(EVENT), line])
    assert events(tmp_path) == []


def test_a_bad_event_late_leaves_what_was_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.capture.importer.sealing.BATCH_EVENTS", 10)
    lines = [json.dumps({**EVENT, "event_id": f"e{n}"}) for n in range(35)]
    with pytest.raises(InvalidInput, match=r"line 36: .*\n\d+ events before it are sealed"):
        load_events(tmp_path, [*lines, "oops"])
    sealed = len(events(tmp_path))
    assert 10 < sealed < 35
    result = load_events(tmp_path, lines)
    assert (result.skipped, result.created) == (sealed, 35 - sealed)


@pytest.mark.parametrize("data", [b"", b"\n\n \t\n", b"\xef\xbb\xbf"])
def test_nothing_is_imported_of_nothing(tmp_path: Path, data: bytes) -> None:
    with open_for_writing(url(tmp_path)) as ledger:
        assert import_events(ledger, BytesIO(data)).sealed == 0
        got = import_file(ledger, BytesIO(data), entity="item", key="id", format="jsonl")
        assert got.sealed == 0
