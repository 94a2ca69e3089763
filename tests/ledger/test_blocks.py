"""Entries decoded at once say what entries decoded one by one say, in every column."""

from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import audit
from audit.event.envelope import Encryption
from audit.event.fields import encode_fields
from audit.event.row import Change, encode_row
from audit.event.valuejson import dumps_bytes
from audit.ledger.export.change_block import change_table_of, changes_of, rows_by_dataset
from audit.ledger.export.changes import NO_COLUMNS, change_row, change_table, superseded_by
from audit.ledger.export.entry_block import block_batch, payloads_of, read_entries
from audit.ledger.export.events import event_batch, event_schema
from audit.ledger.export.json_texts import row_texts
from audit.log.record import Record, read_record
from audit.replay.books import Books
from audit.replay.columnar.decode.changes import read_changes
from audit.replay.columnar.lockstep import Source
from audit.store.contract import Located
from tests.backends import SqliteBackend, new_backend
from tests.ledger.support import VALUES, random_history
from tests.replay.conftest import LedgerInTest

SCHEMA = event_schema(leaf=True)
CELLS = st.one_of(
    *(st.text(), st.floats(), st.dates(), st.sampled_from(VALUES)),
    st.datetimes(timezones=st.just(UTC)),
)


@pytest.fixture(scope="module")
def histories(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LedgerInTest]:
    """Events of every sort in two logs; some say what seldom is said, some cannot be read."""
    made = LedgerInTest(new_backend(SqliteBackend.name, request, tmp_path_factory.mktemp("b")))
    made.open_log(1)
    random_history(made, 1, 50, kept=True)
    made.record("note", {"said": "hello"})
    odd = {"$a": 1, 'q"': 'x"\n\u2028\x00', "t": list(VALUES[:10])}
    made.emit("update", 1, odd, before={"b": 1})
    made.emit("update", 1, {"a": "\\", "n": float("nan")}, before={}, entity="other")
    made.emit("update", 1, {}, entity="other", reason="why", actor="a", transaction_id="t")
    # Payloads that are no change, and one that is encrypted.
    for change in ({"payload": b"\x05"}, {"encryption": Encryption("k", bytes(12))}):
        event, needed = made.event("create", 8, {"a": 1}, actor="mallory")
        made.seal([event._replace(**change)], needed)
    random_history(made, 2, 30)
    with made.store:
        yield made


class Both:
    """The entries of one log, and how both ways are asked."""

    def __init__(self, made: LedgerInTest, log: int) -> None:
        books = Books(made.store, made.cut(None))
        self.decode = books.decode
        self.how = payloads_of(books.decode, books.of_log(log))
        self.located = list(made.store.leaves(log))
        self.log = log

    def records(self) -> list[Record]:
        return [read_record(self.log, leaf) for _, leaf in self.located]

    def superseded(self) -> Any:
        by_id: dict[str, list[Record]] = {}
        for record in self.records():
            if record.event is not None:
                by_id.setdefault(record.event.event_id, []).append(record)
        return superseded_by(lambda name: by_id.get(name, []))


@pytest.mark.parametrize("log", [0, 1])
def test_every_column_of_events_is_the_same(histories: LedgerInTest, log: int) -> None:
    both = Both(histories, log)
    leaves = [leaf for _, leaf in both.located]
    block = read_entries(log, leaves, [index for index, _ in both.located], both.how)
    assert block is not None and len(block.one_by_one) < len(leaves)
    plain = event_batch(both.records(), both.decode, SCHEMA)
    at_once = block.batch(SCHEMA)
    for name in SCHEMA.names:
        assert at_once.column(name).to_pylist() == plain.column(name).to_pylist(), name
    assert at_once.equals(plain)


@pytest.mark.parametrize("log", [0, 1])
def test_the_changes_are_the_same(histories: LedgerInTest, log: int) -> None:
    both = Both(histories, log)
    block = read_entries(log, [leaf for _, leaf in both.located], None, both.how)
    assert block is not None
    superseded = both.superseded()
    at_once = changes_of(block, both.decode, superseded)
    by_row = rows_by_dataset(both.records(), both.decode, superseded)
    assert at_once.keys() == by_row.keys()
    for name, found in at_once.items():
        assert (found.first, found.odd) == (by_row[name].first, by_row[name].odd)
        columns = NO_COLUMNS.with_kinds(found.kinds({}))
        assert columns.kinds == by_row[name].kinds({})
        rows = [
            row
            for record in both.records()
            if record.event is not None and record.event.entity_type == name
            if (row := change_row(record, both.decode, superseded)) is not None
        ]
        plain = change_table(rows, columns)
        for table in (change_table_of([found], columns), change_table_of([by_row[name]], columns)):
            assert repr(table.to_pylist()) == repr(plain.to_pylist())


def test_a_leaf_that_is_none_leaves_all_to_the_plain_way(histories: LedgerInTest) -> None:
    both = Both(histories, 0)
    first, second, third = both.located[:3]
    for bad in (Located(1, second.leaf[:-1]), Located(1, third.leaf)):
        with pytest.raises(audit.AuditError, match="0/1"):
            block_batch(0, [first, bad, third], both.how, SCHEMA)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.text(max_size=4), CELLS) | st.none(),
        max_size=6,
    )
)
def test_a_row_is_spelled_as_one_by_one(rows: list[dict[str, Any] | None]) -> None:
    payloads = [encode_row(Change("patch", row, None)) for row in rows]
    source = Source(payloads)
    found = read_changes(source, source.start, source.end)
    assert found.good.all()
    texts = row_texts(source, found.before, found.before_names, found.has_before)
    assert texts.type == pa.string()
    assert texts.to_pylist() == [None if r is None else dumps_bytes(r).decode() for r in rows]
    assert encode_fields({}) == b"\x00"


def test_sql_from_the_read_model_is_the_same(
    histories: LedgerInTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = (
        "log, index, recorded_time, kind, op, type, entity_type, source, actor, transaction_id"
    )
    statement = f"SELECT {columns} FROM events ORDER BY log, index"
    monkeypatch.setattr("audit.ledger.engines.FAST_FROM_ENTRIES", 1)
    for as_of in (None, "0/20"):
        tables = []
        for model in (None, "off"):
            with audit.Ledger(histories.backend.url, read_model=model) as opened:
                assert (opened.read_model is None) is (model == "off")
                tables.append(opened.sql(statement, as_of).arrow())
        assert tables[0].num_rows > 20 and tables[0].equals(tables[1])
