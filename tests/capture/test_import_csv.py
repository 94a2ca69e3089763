"""CSV into events: exact cells, canonical types, keys verbatim, and what is refused where."""

from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.capture.delivery.embedded import open_for_writing
from audit.capture.importer import ImportResult, import_file
from audit.capture.importer.csv_cells import csv_rows
from audit.capture.importer.csv_table import CsvTable, cell_type
from audit.capture.importer.source import Source
from audit.errors import InvalidInput, NotFound
from tests.capture.support import checkpoint_count, events, rows, url

INQUIRIES = Path(__file__).parent.parent / "data" / "inquiries.csv"
BOM = b"\xef\xbb\xbf"


def load(folder: Path, data: str | bytes | Path, **options: Any) -> ImportResult:
    """Import a CSV given as text, bytes or a path."""
    if not isinstance(data, Path):
        path = folder / "data.csv"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        data = path
    with open_for_writing(url(folder)) as ledger:
        return import_file(ledger, data, **{"entity": "item", "key": "id", **options})


def cells(data: bytes) -> list[list[str | None]]:
    with Source(BytesIO(data)) as source:
        return [row for _, row in csv_rows(source)]


def inquiries(folder: Path, data: str | Path = INQUIRIES, **options: Any) -> ImportResult:
    given = {"entity": "inquiry", "key": "InquiryID", "valid_time": "InquiryDate", **options}
    return load(folder, data, **given)


def test_the_example_table(tmp_path: Path) -> None:
    assert inquiries(tmp_path, actor="alice", reason="start").created == 10
    found = rows(tmp_path, "inquiry")
    assert found["1003"] == {
        "InquiryID": 1003,
        "CustomerID": "003",
        "InquiryDate": "2020-03-05",
        "LoanType": "Credit Card",
        "LoanAmount": 5000,
        "AccountStatus": "Open",
        "PaymentStatus": "Late (30 days)",
    }
    first = events(tmp_path)[0]
    assert (first.type, first.source, first.actor) == ("data.create", "import", "alice")
    assert first.valid_time_us == (date(2020, 1, 15) - date(1970, 1, 1)).days * 86_400_000_000
    assert first.producer_id is None


def test_a_repeat_adds_nothing(tmp_path: Path) -> None:
    first = inquiries(tmp_path)
    before = checkpoint_count(tmp_path)
    again = inquiries(tmp_path, actor="bob")
    assert (again.skipped, again.sealed, again.size) == (10, 0, first.size)
    assert checkpoint_count(tmp_path) == before


def test_a_longer_file_adds_the_rest_and_updates_what_changed(tmp_path: Path) -> None:
    inquiries(tmp_path)
    text = INQUIRIES.read_text().replace("Late (30 days)", "Paid Off")
    text += "1011,001,2020-11-01,Auto Loan,1,Open,Current\n"
    result = inquiries(tmp_path, text)
    assert (result.created, result.updated, result.skipped) == (1, 1, 9)
    assert rows(tmp_path, "inquiry")["1003"]["PaymentStatus"] == "Paid Off"


def test_a_key_that_comes_again_in_one_file_is_updated(tmp_path: Path) -> None:
    result = load(tmp_path, "id,n\n1,1\n1,2\n1,1\n1,1\n2,1\n")
    assert (result.created, result.updated) == (2, 3)
    assert [e.type for e in events(tmp_path)][:4] == ["data.create"] + ["data.update"] * 3
    assert load(tmp_path, "id,n\n1,1\n1,2\n1,1\n1,1\n2,1\n").skipped == 5
    assert rows(tmp_path, "item")["1"] == {"id": 1, "n": 1}


def test_an_import_meets_what_is_there(tmp_path: Path) -> None:
    from audit.capture.emitter import Emitter

    with Emitter(url(tmp_path)) as emit:
        emit.create("item", 1, {"other": True})
        emit.create("item", 2, {})
        emit.delete("item", 2)
        wrong = emit.delete("item", 1)
        emit.update("item", 1, {"other": False}, supersedes=wrong)
    result = load(tmp_path, "id,n\n1,1\n2,1\n3,1\n")
    assert (result.created, result.updated) == (2, 1)
    assert rows(tmp_path, "item")["1"] == {"id": 1, "n": 1}


def test_looking_keys_up_one_by_one_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.capture.importer.known.SCAN_IF_ROWS_OVER", 0)
    assert load(tmp_path, "id,n\n1,1\n2,1\n1,2\n").created == 2
    result = load(tmp_path, "id,n\n1,1\n2,1\n1,2\n2,2\n3,1\n")
    assert (result.skipped, result.created, result.updated) == (3, 1, 1)


def test_a_snapshot_emits_the_differences_in_one_transaction(tmp_path: Path) -> None:
    a, b = "id,n\n1,1\n2,2\n3,\n", "id,n\n1,1\n2,5\n4,4\n"
    assert load(tmp_path, a, snapshot=True)[:4] == (3, 0, 0, 0)
    states = [rows(tmp_path, "item")]
    sizes = []
    for text, counts in ((b, (1, 1, 1, 1)), (a, (1, 1, 1, 1)), (a, (0, 0, 0, 3))):
        result = load(tmp_path, text, snapshot=True, valid_time=None)
        assert result[:4] == counts
        assert (result.transaction_id is None) == (counts[3] == 3)
        states.append(rows(tmp_path, "item"))
        sizes.append(result.size)
    assert states[0] == states[2] == states[3] != states[1]
    assert sizes[1] == sizes[2]
    found = events(tmp_path)
    assert len({e.event_id for e in found}) == len(found) == 9
    assert len({e.transaction_id for e in found}) == 3
    assert [e.type for e in found[3:6]] == ["data.update", "data.create", "data.delete"]


def test_a_snapshot_with_a_key_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"line 4: the key '1' is there twice, first in .* 2"):
        load(tmp_path, "id,n\n1,1\n2,2\n1,3\n", snapshot=True)
    assert events(tmp_path) == []


def test_an_empty_snapshot_deletes_all_and_an_empty_file_nothing(tmp_path: Path) -> None:
    load(tmp_path, "id\n1\n2\n")
    with pytest.raises(InvalidInput, match="is empty"):
        load(tmp_path, "", snapshot=True)
    assert load(tmp_path, "id\n", snapshot=True).deleted == 2
    assert load(tmp_path, "id\n").sealed == 0


def test_composite_keys_are_arrays_of_the_texts(tmp_path: Path) -> None:
    load(tmp_path, 'a,b,n\n1,x,5\n01,"y ""z""",5\n', key="a,b")
    assert list(rows(tmp_path, "item")) == ['["01","y \\"z\\""]', '["1","x"]']
    load(tmp_path, '"a,b",n\nk,5\n', key="a,b", entity="other")
    assert list(rows(tmp_path, "other")) == ["k"]
    load(tmp_path, "a,b\n1,x\n", key=["b", "a"], entity="third")
    assert list(rows(tmp_path, "third")) == ['["x","1"]']


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a,b\n1,2\n", [["a", "b"], ["1", "2"]]),
        (b"a,b\r\n1,2\r\n", [["a", "b"], ["1", "2"]]),
        (b"a,b\n1,2", [["a", "b"], ["1", "2"]]),
        (BOM + b"a\n1\n", [["a"], ["1"]]),
        (BOM + b'"a"\n1\n', [["a"], ["1"]]),
        (b'a,b\n,""\n', [["a", "b"], [None, ""]]),
        (b'a,b\n"",\n', [["a", "b"], ["", None]]),
        (b"a\n\n1\n\n\n", [["a"], ["1"]]),
        (b'a,b\n"x\ny",2\n3,4\n', [["a", "b"], ["x\ny", "2"], ["3", "4"]]),
        (b'a,b\n"x\r\ny\n\n",2\r\n', [["a", "b"], ["x\r\ny\n\n", "2"]]),
        (b'a\n"say ""hi"", please"\n', [["a"], ['say "hi", please']]),
        (b'a\n""""\n', [["a"], ['"']]),
        (b"a\n 1 \n", [["a"], [" 1 "]]),
        ("a\n\u2028\x85\n".encode(), [["a"], ["\u2028\x85"]]),
        (b'a,b\n,\n","\n', [["a", "b"], [None, None], [","]]),
    ],
)
def test_cells(data: bytes, expected: list[list[str | None]]) -> None:
    assert cells(data) == expected


@given(
    st.lists(
        st.lists(
            st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
            min_size=1,
            max_size=4,
        ).filter(lambda row: row != [None] and not any(cell and "\x00" in cell for cell in row)),
        max_size=6,
    )
)
def test_what_is_written_by_the_rules_is_read(table: list[list[str | None]]) -> None:
    def cell(value: str | None) -> str:
        return "" if value is None else '"' + value.replace('"', '""') + '"'

    data = "".join(",".join(map(cell, row)) + "\n" for row in table).encode()
    assert cells(data) == table


@given(st.binary(max_size=60))
def test_junk_is_rows_or_refused(data: bytes) -> None:
    try:
        cells(data.replace(b"q", b'"').replace(b"c", b","))
    except InvalidInput as error:
        assert "line" in str(error) or "UTF-16" in str(error)


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("0", "integer"),
        ("-1", "integer"),
        ("9223372036854775807", "integer"),
        ("-9223372036854775808", "integer"),
        ("9223372036854775808", "string"),
        ("12345678901234567890123", "string"),
        ("-0", "string"),
        ("+1", "string"),
        ("007", "string"),
        ("1_000", "string"),
        ("\u0661", "string"),
        (" 1", "string"),
        ("1\n", "string"),
        ("1.5", "double"),
        ("-0.0", "double"),
        ("0.1", "double"),
        ("1e+16", "double"),
        ("5e-324", "double"),
        ("1.7976931348623157e+308", "double"),
        ("1e+309", "string"),
        ("1.50", "string"),
        ("1e5", "string"),
        ("1.", "string"),
        (".5", "string"),
        ("nan", "string"),
        ("inf", "string"),
        ("0x10", "string"),
        ("true", "string"),
        ("", "string"),
        ("2020-01-01", "string"),
    ],
)
def test_canonical_forms(text: str, type_: str) -> None:
    assert cell_type(text) == type_


@given(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back_exactly(value: float) -> None:
    text = repr(value)
    assert cell_type(text) == ("integer" if type(value) is int else "double")
    back = int(text) if type(value) is int else float(text)
    assert repr(back) == text


def test_a_column_has_one_type(tmp_path: Path) -> None:
    data = "id,i,d,s,mixed,code,none,q\n1,5,1.5,x,1,007,,1\n2,,-0.0,1,2.5,7,,\n3,-7,,,3,8,,2\n"
    load(tmp_path, data + '"4",9,2.5,"",4,"9",,"3"\n')
    found = rows(tmp_path, "item")
    assert found["1"] == {
        **{"id": 1, "i": 5, "d": 1.5, "s": "x", "mixed": "1", "code": "007", "none": None, "q": 1},
    }
    assert found["2"]["i"] is None and str(found["2"]["d"]) == "-0.0" and found["2"]["q"] is None
    assert found["4"] == {
        **{"id": 4, "i": 9, "d": 2.5, "s": "", "mixed": "4", "code": "9", "none": None, "q": 3},
    }


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("id,n\n1\n", "line 2: 1 cells, the header has 2"),
        ("id,n\n1,2\n1,2,3\n", "line 3: 3 cells"),
        ('id,n\n1,"a\nb"\n1\n', "line 4: 1 cells"),
        ("id,id\n1,2\n", "line 1: two columns are called 'id'"),
        ("id,\n1,2\n", "line 1: column 2 has no name"),
        ("n\n1\n", "has no column 'id'\nit has n"),
        ("ID,n\n1,1\n", "has no column 'id'"),
        ("idd,n\n1,1\n", "did you mean idd"),
        ("id,n\n,1\n", "line 2: the key column id is empty"),
        (b"id\nx\x00\n", "line 2: holds a NUL byte"),
        (b"id\n\xff\n", "line 2: byte 1 is not UTF-8"),
        ("id\n1\n".encode("utf-16"), "UTF-16"),
        ('id\n"open\n1\n', "line 2: a quote is opened and never closed"),
        ('id\n"a"b\n', "line 2, cell 1: a quote where none may be"),
        ('id\na"b"\n', "line 2, cell 1: a quote where none may be"),
        (b"id\n1\r2\n", "line 2: a carriage return within a line"),
        (bytes(range(256)) * 50, "NUL|UTF-8|carriage"),
    ],
)
def test_bad_files_import_nothing(tmp_path: Path, data: str | bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        load(tmp_path, data)
    assert "data.csv" in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 2
    assert events(tmp_path) == []


def test_an_endless_line_is_not_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.capture.importer.source.MAX_LINE_BYTES", 1_000)
    with pytest.raises(InvalidInput, match="line 2: longer than 1,000 bytes"):
        load(tmp_path, "id\n" + "x" * 5_000)


@pytest.mark.parametrize(
    ("cell", "words"),
    [("2020-02-30", "line 3, day"), ("soon", "line 3, day"), ("2020-01-01T00:00:00", "RFC 3339")],
)
def test_bad_valid_times_name_their_line(tmp_path: Path, cell: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        load(tmp_path, f"id,day\n1,2020-01-01\n2,{cell}\n", valid_time="day")
    with pytest.raises(InvalidInput, match="no column 'when'"):
        load(tmp_path, "id,day\n", valid_time="when")
    assert events(tmp_path) == []


def test_valid_times(tmp_path: Path) -> None:
    data = "id,t\n1,1970-01-02\n2,1970-01-01T01:00:00.5+01:00\n3,\n"
    load(tmp_path, data, valid_time="t")
    assert [e.valid_time_us for e in events(tmp_path)] == [86_400_000_000, 500_000, None]
    assert rows(tmp_path, "item")["2"]["t"] == "1970-01-01T01:00:00.5+01:00"


def test_a_row_too_large_stops_and_the_mended_file_adds_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.capture.importer.sealing.BATCH_EVENTS", 10)
    good = [f"{n},x" for n in range(40)]
    bad = [*good[:25], "25," + "x" * 70_000, *good[26:]]
    with pytest.raises(InvalidInput, match=r"(?s)data.csv, line 27: .*\n\d+ events .* sealed"):
        load(tmp_path, "\n".join(["id,s", *bad]))
    sealed = len(events(tmp_path))
    assert 0 < sealed < 25
    result = load(tmp_path, "\n".join(["id,s", *good]))
    assert (result.skipped, result.created) == (sealed, 40 - sealed)


def test_streams_and_formats(tmp_path: Path) -> None:
    with open_for_writing(url(tmp_path)) as ledger:
        with pytest.raises(InvalidInput, match="say --format"):
            import_file(ledger, BytesIO(b"id\n1\n"), entity="item", key="id")
        with pytest.raises(InvalidInput, match="'xml'"):
            import_file(ledger, BytesIO(b"id\n1\n"), entity="item", key="id", format="xml")
        stream = BytesIO(b"id\n1\n")
        assert import_file(ledger, stream, entity="item", key="id", format="csv").created == 1
        with pytest.raises(NotFound, match="there is no file"):
            import_file(ledger, tmp_path / "none.csv", entity="item", key="id")
        with pytest.raises(InvalidInput, match="is a folder"):
            import_file(ledger, tmp_path, entity="item", key="id")
        with pytest.raises(InvalidInput, match="at least one column"):
            import_file(ledger, INQUIRIES, entity="item", key="")
        with pytest.raises(InvalidInput, match="each column once"):
            import_file(ledger, INQUIRIES, entity="item", key="InquiryID,InquiryID")
        with pytest.raises(InvalidInput, match="entity_type"):
            import_file(ledger, INQUIRIES, entity="Bad Name", key="InquiryID")
    assert len(events(tmp_path)) == 1


def test_progress_covers_both_passes(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    data = "id\n" + "".join(f"{n}\n" for n in range(5_000))
    load(tmp_path, data, progress=lambda done, total: seen.append((done, total)))
    assert {total for _, total in seen} == {2 * len(data)}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1] and len(seen) > 4


def test_types_are_found_over_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("id,n\n" + "1,1\n" * 100 + "2,x\n")
    with Source(path) as source:
        table = CsvTable(source, "id", None)
        assert table.check() == 101
        assert table.types == ["integer", "string"]
        assert next(table.rows()).fields == {"id": 1, "n": "1"}
