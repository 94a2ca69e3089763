"""Instants and dates: microseconds and days since 1970, and their texts, without loss.

Text is RFC 3339; what it cannot say exactly in microseconds, or in years 0001 to 9999, is refused.
"""

import re
from datetime import UTC, date, datetime, timedelta

from audit.errors import InvalidInput
from audit.event.shown import shown

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MIN_TIME_US = -62_135_596_800_000_000
"""0001-01-01T00:00:00.000000Z."""
MAX_TIME_US = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z."""
MIN_DATE_DAYS = -719_162
MAX_DATE_DAYS = 2_932_896

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]{1,9}))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")


def time_of_us(us: int) -> datetime:
    """The UTC datetime of an instant. Raises InvalidInput outside years 0001 to 9999."""
    if not MIN_TIME_US <= us <= MAX_TIME_US:
        raise InvalidInput(f"time {shown(us)} us since 1970 is outside the years 0001 to 9999")
    return EPOCH + timedelta(microseconds=us)


def us_of_time(time: datetime) -> int:
    """Microseconds since the epoch of an aware datetime (the second of a DST fold is respected).

    Raises InvalidInput for a naive datetime and outside years 0001 to 9999 in UTC.
    """
    if time.tzinfo is not UTC:
        try:
            offset = time.utcoffset()
        except (ValueError, OverflowError) as error:
            raise InvalidInput(f"datetime with an unusable time zone: {error}") from None
        if offset is None:
            raise InvalidInput(
                f"naive datetime {time.isoformat()} names no instant: give it a time zone"
            )
        since = time.replace(tzinfo=UTC, fold=0) - EPOCH - offset
    else:
        since = time - EPOCH
    us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if not MIN_TIME_US <= us <= MAX_TIME_US:
        raise InvalidInput(f"time {time.isoformat()} is outside the years 0001 to 9999 in UTC")
    return us


def date_of_days(days: int) -> date:
    """The date so many days after 1970-01-01. Raises InvalidInput outside years 0001 to 9999."""
    if not MIN_DATE_DAYS <= days <= MAX_DATE_DAYS:
        raise InvalidInput(f"date {shown(days)} days since 1970 is outside the years 0001 to 9999")
    return date.fromordinal(days + _EPOCH_ORDINAL)


def days_of_date(day: date) -> int:
    """Days since 1970-01-01."""
    return day.toordinal() - _EPOCH_ORDINAL


def format_time(us: int) -> str:
    """RFC 3339 in UTC with six digits and Z: "2026-01-02T03:04:05.678901Z". Raises InvalidInput."""
    time = time_of_us(us)
    text = time.isoformat("T", "microseconds")
    return text[:-6] + "Z"


def parse_rfc3339(text: str) -> int:
    """Microseconds since the epoch of an RFC 3339 time, which always has an offset or Z.

    Raises InvalidInput for anything else: no offset, finer than a microsecond, a leap second,
    outside years 0001 to 9999.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise InvalidInput(
            f"time {text[:64]!r} is not RFC 3339: write it like 2026-01-02T03:04:05.678901Z"
        )
    year, month, day, hour, minute, second, fraction, sign, off_hour, off_minute = match.groups()
    digits = (fraction or "").ljust(9, "0")
    if digits[6:] != "000":
        raise InvalidInput(f"time {text!r} is finer than a microsecond: refused, not rounded")
    if second == "60":
        raise InvalidInput(f"time {text!r} is a leap second, which has no place on this time scale")
    try:
        since = (
            datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), 0, UTC)
            - EPOCH
        )
    except ValueError as error:
        raise InvalidInput(f"time {text!r} does not exist: {error}") from None
    us = (since.days * 86_400 + since.seconds) * 1_000_000 + int(digits[:6])
    if sign is not None:
        if int(off_hour) > 23 or int(off_minute) > 59:
            raise InvalidInput(f"time {text!r} has an offset that does not exist")
        offset_us = (int(off_hour) * 60 + int(off_minute)) * 60_000_000
        us += offset_us if sign == "-" else -offset_us
    if not MIN_TIME_US <= us <= MAX_TIME_US:
        raise InvalidInput(f"time {text!r} is outside the years 0001 to 9999 in UTC")
    return us


def parse_date(text: str) -> date:
    """A date written YYYY-MM-DD. Raises InvalidInput."""
    match = _DATE.fullmatch(text)
    if match is None:
        raise InvalidInput(f"date {text[:64]!r} is not written YYYY-MM-DD")
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError as error:
        raise InvalidInput(f"date {text!r} does not exist: {error}") from None
