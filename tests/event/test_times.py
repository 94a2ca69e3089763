"""Instants and dates: exact both ways between text, microseconds and datetimes."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import InvalidInput
from audit.event.times import (
    MAX_DATE_DAYS,
    MAX_TIME_US,
    MIN_DATE_DAYS,
    MIN_TIME_US,
    date_of_days,
    days_of_date,
    format_time,
    parse_date,
    parse_rfc3339,
    time_of_us,
    us_of_time,
)

instants = st.integers(MIN_TIME_US, MAX_TIME_US)


@given(instants)
def test_instants_round_trip(us: int) -> None:
    assert parse_rfc3339(format_time(us)) == us
    assert us_of_time(time_of_us(us)) == us


@given(st.integers(MIN_DATE_DAYS, MAX_DATE_DAYS))
def test_dates_round_trip(days: int) -> None:
    day = date_of_days(days)
    assert days_of_date(day) == days
    assert parse_date(day.isoformat()) == day


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (MIN_TIME_US, "0001-01-01T00:00:00.000000Z"),
        (MAX_TIME_US, "9999-12-31T23:59:59.999999Z"),
        (1_767_323_045_678_901, "2026-01-02T03:04:05.678901Z"),
    ],
)
def test_format(us: int, text: str) -> None:
    assert format_time(us) == text
    assert parse_rfc3339(text) == us


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:00:00-01:00", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("1970-01-01T00:00:00.1Z", 100_000),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T00:00:00.000001000Z", 1),
        ("1970-01-01T23:59:00+23:59", 0),
    ],
)
def test_parse(text: str, us: int) -> None:
    assert parse_rfc3339(text) == us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2020-01-01",
        "2020-01-01T00:00:00",
        "2020-01-01 00:00:00Z",
        "2020-01-01T00:00Z",
        "2020-01-01T00:00:00.Z",
        "2020-01-01T00:00:00.0000001Z",
        "2020-01-01T00:00:00.1234567890Z",
        "2020-01-01T24:00:00Z",
        "2020-01-01T00:60:00Z",
        "2016-12-31T23:59:60Z",
        "2020-02-30T00:00:00Z",
        "2020-13-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "2020-01-01T00:00:00+24:00",
        "2020-01-01T00:00:00+01:60",
        "2020-01-01T00:00:00+0100",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "2020-01-01T00:00:00Z\n",
        " 2020-01-01T00:00:00Z",
        "2020-01-01T00:00:00\u0661Z",
        "\u0662020-01-01T00:00:00Z",
        "2020-01-01T00:00:00,5Z",
        "x" * 10_000,
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_rfc3339(text)


@pytest.mark.parametrize(
    "text", ["", "2020-1-01", "2020-01-01Z", "2020-02-30", "0000-01-01", "2020-01-01\n"]
)
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_date(text)


HUGE = pytest.param(10**5000, id="5001 digits")


@pytest.mark.parametrize("us", [MIN_TIME_US - 1, MAX_TIME_US + 1, HUGE])
def test_instants_outside_are_refused(us: int) -> None:
    with pytest.raises(InvalidInput):
        time_of_us(us)
    with pytest.raises(InvalidInput):
        format_time(us)


@pytest.mark.parametrize("days", [MIN_DATE_DAYS - 1, MAX_DATE_DAYS + 1, HUGE])
def test_dates_outside_are_refused(days: int) -> None:
    with pytest.raises(InvalidInput):
        date_of_days(days)


def test_constants_are_the_calendars() -> None:
    assert time_of_us(MIN_TIME_US) == datetime.min.replace(tzinfo=UTC)
    assert time_of_us(MAX_TIME_US) == datetime.max.replace(tzinfo=UTC)
    assert date_of_days(MIN_DATE_DAYS) == date.min
    assert date_of_days(MAX_DATE_DAYS) == date.max
    assert time_of_us(MAX_TIME_US) - time_of_us(MAX_TIME_US - 1) == timedelta(microseconds=1)
