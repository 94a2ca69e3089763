"""Times and positions: what a text names, and what is refused."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from audit.errors import Ambiguous, InvalidInput, NotFound
from audit.event.times import parse_rfc3339
from audit.log.record import read_record
from audit.replay.fold import Position
from audit.replay.points import locate, parse_range, parse_time, time_of
from tests.replay.conftest import LedgerInTest

NOW = parse_rfc3339("2026-01-10T12:34:56.789Z")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("2024-02-29", "2024-02-29T00:00:00Z"),
        ("0001-01-01", "0001-01-01T00:00:00Z"),
        ("9999-12-31", "9999-12-31T00:00:00Z"),
        ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"),
        ("2026-01-31t10:00:00.5z", "2026-01-31T10:00:00.500000Z"),
        ("2026-01-31T10:00:00+02:00", "2026-01-31T08:00:00Z"),
        ("now", "2026-01-10T12:34:56.789Z"),
        ("yesterday", "2026-01-09T00:00:00Z"),
        ("-7d", "2026-01-03T12:34:56.789Z"),
        ("-2w", "2025-12-27T12:34:56.789Z"),
        ("-3h", "2026-01-10T09:34:56.789Z"),
        ("-30m", "2026-01-10T12:04:56.789Z"),
        ("-5s", "2026-01-10T12:34:51.789Z"),
        ("-0d", "2026-01-10T12:34:56.789Z"),
    ],
)
def test_times(text: str, expected: str) -> None:
    assert parse_time(text, NOW) == parse_rfc3339(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-1-5",
        "2026-02-30",
        "2025-02-29",
        "0000-01-01",
        "2026-01-31 10:00:00Z",
        "2026-01-31T10:00:00",
        "2026-01-31T24:00:00Z",
        "2026-01-31T10:00:60Z",
        "2026-01-31T10:00:00+24:00",
        "2026-01-31T10:00:00.1234567Z",
        "2026-01-31\n",
        "２026-01-31",
        "-7",
        "-7y",
        "7d",
        "--7d",
        "-9999999999d",
        "-999999999w",
        " now",
        "NOW",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_time(text, NOW)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 2, tzinfo=UTC),
        date(2026, 1, 2),
        pd.Timestamp("2026-01-02", tz="UTC"),
        pd.Timestamp("2026-01-01 19:00", tz="America/New_York"),
        "2026-01-02",
    ],
)
def test_times_as_objects(value: object) -> None:
    assert time_of(value, NOW) == parse_rfc3339("2026-01-02T00:00:00Z")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [datetime(2026, 1, 2), pd.Timestamp("2026-01-02"), pd.NaT, 5, 5.0, None, b"now"]
)
def test_what_is_no_time_as_an_object_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput):
        time_of(value, NOW)  # type: ignore[arg-type]


def test_ranges() -> None:
    assert parse_range("2026-01-01..HEAD") == ("2026-01-01", "HEAD")
    assert parse_range("5..") == ("5", "HEAD")
    assert parse_range("-7d..-1d") == ("-7d", "-1d")
    for text in ("", "5", "..5", "..", "a..b..c", "5...6.."):
        with pytest.raises(InvalidInput):
            parse_range(text)


@pytest.fixture
def places(ledger: LedgerInTest) -> list[Position]:
    """Three events: `a` of crm, `a` of erp, and one whose id is digits alone."""
    return [
        ledger.emit("create", 1, {"n": 1}, event_id="a", source="crm"),
        ledger.emit("create", 2, {"n": 2}, event_id="a", source="erp"),
        ledger.emit("create", 3, {"n": 3}, event_id="1042"),
    ]


def test_positions_of_one_log(ledger: LedgerInTest, places: list[Position]) -> None:
    size = ledger.store.size(0)
    digits = read_record(0, ledger.store.leaf(*places[0])).leaf_hash.hex()
    for text, index in (
        ("HEAD", size - 1),
        ("HEAD~0", size - 1),
        ("HEAD~2", size - 3),
        ("0/HEAD~1", size - 2),
        ("0", 0),
        (str(size - 1), size - 1),
        (f"0/{size - 2}", size - 2),
        ("id:1042", places[2][1]),
        ("crm:a", places[0][1]),
        ("id:erp:a", places[1][1]),
        ("test:1042", places[2][1]),
        (f"sha256:{digits}", places[0][1]),
        (f"sha256:{digits[:8].upper()}", places[0][1]),
    ):
        assert locate(ledger.store, text) == (0, index), text
        assert ledger.cut(text).sizes == {0: index + 1}
    assert ledger.cut(np.int64(3)).sizes == {0: 4}  # type: ignore[arg-type]
    assert ledger.cut(0).sizes == {0: 1}


def test_an_event_id_of_two_sources_is_ambiguous_and_both_are_listed(
    ledger: LedgerInTest, places: list[Position]
) -> None:
    with pytest.raises(Ambiguous) as caught:
        locate(ledger.store, "a")
    assert f"0/{places[0][1]} (crm:a)" in str(caught.value)
    assert f"0/{places[1][1]} (erp:a)" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["nothing", "crm:b", "1000", "0/1000", "7/1", "HEAD~1000", "7/HEAD"]
)
def test_positions_that_are_not_there(ledger: LedgerInTest, text: str) -> None:
    with pytest.raises(NotFound):
        locate(ledger.store, text)


def test_a_leaf_hash_that_fits_nothing(ledger: LedgerInTest) -> None:
    with pytest.raises(NotFound):
        locate(ledger.store, "sha256:" + "0" * 64)


@pytest.mark.parametrize(
    "text",
    ["", "id:", "007", "sha256:abc", "sha256:" + "a" * 65, "sha256:xxxxxxxx", "9" * 5000, "٣"],
)
def test_positions_that_are_none(ledger: LedgerInTest, text: str) -> None:
    with pytest.raises(InvalidInput):
        locate(ledger.store, text)


def test_an_index_beyond_64_bits_is_not_there(ledger: LedgerInTest) -> None:
    for text in ("9" * 30, "9223372036854775807", "HEAD~9223372036854775807"):
        with pytest.raises(NotFound):
            locate(ledger.store, text)
    with pytest.raises((NotFound, InvalidInput)):
        locate(ledger.store, f"0/{'9' * 30}")


@pytest.mark.parametrize("as_of", [True, -1, 1.5, b"HEAD", [1], object()])
def test_points_that_are_none(ledger: LedgerInTest, as_of: object) -> None:
    with pytest.raises(InvalidInput):
        ledger.cut(as_of)  # type: ignore[arg-type]


def test_with_several_logs_a_bare_index_is_refused_and_head_is_all(ledger: LedgerInTest) -> None:
    ledger.emit("create", 1, {"n": 1})
    ledger.open_log(1)
    sizes = {log: ledger.store.size(log) for log in (0, 1)}
    assert ledger.cut("HEAD").sizes == sizes
    assert ledger.cut(None).sizes == sizes
    for text in ("2", "HEAD~1"):
        with pytest.raises(Ambiguous, match=f"0/{text}, 1/{text}"):
            ledger.cut(text)
    assert locate(ledger.store, "1/HEAD") == (1, sizes[1] - 1)
    assert locate(ledger.store, "1/2") == (1, 2)
