"""Points in the past: from what a user types - a time or a position - to one size per log.

A text is read in this order, and what it looks like decides, never what the store holds:

    now, yesterday, -7d -3h -30m -2w -5s, 2026-01-31, 2026-01-31T10:00:00Z    a time
    HEAD, HEAD~10, LOG/HEAD~10                                                 from the end
    1042, LOG/1042                                                             an index
    sha256:HEX (8 digits or more)                                              a leaf hash
    id:ID, SOURCE:ID, anything else                                            an event id

A time T gives each log the size up to T, T included. A position gives its log the size up to and
including that entry, and every other log the size up to that entry's recorded time.
"""

import operator
import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import NamedTuple

from audit.errors import Ambiguous, InvalidInput, NotFound, StoreCorrupt
from audit.event.times import (
    MIN_TIME_US,
    days_of_date,
    format_time,
    parse_date,
    parse_rfc3339,
    us_of_time,
)
from audit.replay.fold import Position
from audit.replay.read import Read
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

AsOf = str | int | datetime | date | None
"""What is accepted as a point: a text, an index, an aware datetime, a date; None is HEAD."""

MAX_POSITION_CHARS = 4096
"""Longest text that is looked at."""
MIN_HASH_DIGITS = 8
MAX_HASH_DIGITS = 64
MAX_FITS_LISTED = 10
MAX_SOURCE_SPLITS = 16
"""How many colons of SOURCE:ID are tried as the separating one."""
MAX_INDEX = 2**63 - 1

_DAY_US = 86_400_000_000
_UNIT_US = {
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": _DAY_US,
    "w": 7 * _DAY_US,
}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME_SHAPE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].*)?", re.DOTALL)
_RELATIVE = re.compile(r"-([0-9]{1,9})([smhdw])")
_INDEX = re.compile(r"0|[1-9][0-9]*")
_FROM_END = re.compile(r"(?:(0|[1-9][0-9]{0,18})/)?HEAD(?:~(0|[1-9][0-9]{0,18}))?")
_IN_LOG = re.compile(r"(0|[1-9][0-9]{0,18})/(0|[1-9][0-9]{0,18})")
_HEX = re.compile(r"[0-9a-f]+")


class Cut(NamedTuple):
    """How far each log is read: entries with index < sizes[log].

    `as_of_us`: the time asked for, or the recorded time of the entry at the position; None at HEAD.
    `unsettled`: the logs that may still record an entry at or before that time.
    `in_future`: the time is after now, and after everything recorded: the answer is the head.
    `asked`: the point as it was given.  `position`: the entry, when a position was given.
    """

    sizes: dict[int, int]
    as_of_us: int | None
    unsettled: tuple[int, ...]
    in_future: bool
    asked: str
    position: Position | None

    @property
    def settled(self) -> bool:
        """True when the sizes can no longer become others for this point."""
        return not self.unsettled

    def size(self, log: int) -> int:
        """The size of a log at the cut; 0 for a log that began later."""
        return self.sizes.get(log, 0)

    def holds(self, position: Position) -> bool:
        """True when the entry is below the cut."""
        return position[1] < self.size(position[0])


def time_of(value: str | datetime | date, now_us: int) -> int:
    """Microseconds since the epoch of a time in any accepted form. Raises InvalidInput."""
    if isinstance(value, datetime):
        return us_of_time(value)
    if isinstance(value, date):
        return days_of_date(value) * _DAY_US
    if isinstance(value, str):
        return parse_time(value, now_us)
    raise InvalidInput(f"a time is a text, a datetime or a date, not {type(value).__name__}")


def parse_time(text: str, now_us: int) -> int:
    """Microseconds since the epoch of a time as users type it (see the module docstring).

    Raises InvalidInput.
    """
    time_us = try_time(text, now_us)
    if time_us is None:
        raise InvalidInput(
            f"{_shown(text)} is no time; write 2026-01-31 (00:00 UTC), 2026-01-31T10:00:00Z, "
            "now, yesterday, -7d, -3h or -30m"
        )
    return time_us


def try_time(text: str, now_us: int) -> int | None:
    """The time in a text, or None when the text does not look like one. Raises InvalidInput."""
    if text == "now":
        return now_us
    if text == "yesterday":
        return now_us - now_us % _DAY_US - _DAY_US
    relative = _RELATIVE.fullmatch(text)
    if relative:
        time_us = now_us - int(relative[1]) * _UNIT_US[relative[2]]
        if time_us < MIN_TIME_US:
            raise InvalidInput(f"{text} is before the year 0001")
        return time_us
    if len(text) > MAX_POSITION_CHARS or not _TIME_SHAPE.fullmatch(text):
        return None
    day_us = date_us(text)
    return parse_rfc3339(text) if day_us is None else day_us


def date_us(text: str) -> int | None:
    """00:00 UTC of a date YYYY-MM-DD in microseconds; None when the text is none of that shape.

    Raises InvalidInput for a day that is in no calendar.
    """
    return days_of_date(parse_date(text)) * _DAY_US if _DATE.fullmatch(text) else None


def resolve(reader: Reader, as_of: AsOf, now_us: int) -> Cut:
    """The cut that a point names, one size per log.

    `now_us` is the caller's clock, read once. Raises InvalidInput, NotFound, Ambiguous.
    """
    if isinstance(as_of, date):  # a datetime is one too
        moment_us = time_of(as_of, now_us)
        asked = format_time(moment_us) if isinstance(as_of, datetime) else as_of.isoformat()
        return cut_at_time(reader, moment_us, now_us, asked)
    if as_of is None:
        return _head(reader, "HEAD")
    if not isinstance(as_of, str):
        as_of = _index_text(as_of)
    if as_of == "HEAD":
        return _head(reader, as_of)
    time_us = try_time(as_of, now_us)
    if time_us is not None:
        return cut_at_time(reader, time_us, now_us, as_of)
    read = Read(reader)
    if _is_empty_head(read, as_of):
        return _head(reader, as_of)
    return cut_at_position(reader, locate(reader, as_of, read), as_of, read)


def _index_text(as_of: object) -> str:
    if isinstance(as_of, bool):
        raise InvalidInput("True and False are no points in time")
    try:
        index = operator.index(as_of)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidInput(
            f"a point in time is a text, an index, an aware datetime or a date, "
            f"not {type(as_of).__name__}"
        ) from None
    if index < 0:
        raise InvalidInput(f"{index} is no index; they count from 0 (from the end: HEAD~{-index})")
    return str(index)


def _is_empty_head(read: Read, text: str) -> bool:
    """True for LOG/HEAD of a log without entries: a cut of size 0, though there is no entry."""
    shape = _FROM_END.fullmatch(text)
    if not shape or shape[2] is not None or shape[1] is None:
        return False
    return _known_log(read, int(shape[1]))[1] == 0


def cut_at_time(
    reader: Reader,
    time_us: int,
    now_us: int,
    asked: str | None = None,
    read: Read | None = None,
) -> Cut:
    """The cut at a recorded time in microseconds, that time included.

    `read`: what was read of this store on the way here.
    """
    read = Read(reader) if read is None else read
    sizes: dict[int, int] = {}
    unsettled = []
    # The heads first: what is above the cut had everything at or before T below it already.
    for log, head in read.sizes().items():
        sizes[log] = _size_at(reader, log, time_us, read)
        if head <= sizes[log]:
            unsettled.append(log)
    in_future = time_us > now_us and len(unsettled) == len(sizes)
    text = format_time(time_us) if asked is None else asked
    return Cut(sizes, time_us, tuple(unsettled), in_future, text, None)


def _size_at(reader: Reader, log: int, time_us: int, read: Read) -> int:
    """The size at a time, by the store's index and then by the leaves on both sides of the cut.

    Recorded time strictly increases inside the leaves; so these two prove what the index says.
    """
    size = reader.size_at(log, time_us)
    if not reader.complete:
        return size
    sides = [read.leaves[log, at] for at in (size - 1, size) if (log, at) in read.leaves]
    if len(sides) < 2:
        sides = list(reader.leaves(log, max(0, size - 1), size + 1))
    for located in sides:
        recorded_us = read.recorded_us(log, located.index, located.leaf)
        if (recorded_us <= time_us) != (located.index < size):
            raise StoreCorrupt(
                f"entry {log}/{located.index} was recorded at another time than the index says; "
                "run audit verify"
            )
    return size


def cut_at_position(
    reader: Reader, position: Position, asked: str | None = None, read: Read | None = None
) -> Cut:
    """The cut up to and including an entry; other logs up to its recorded time."""
    log, index = position
    read = Read(reader) if read is None else read
    for located in reader.leaves(log, index, index + 2):
        read.leaves[log, located.index] = located
    leaf = read.leaves[position].leaf if position in read.leaves else reader.leaf(log, index)
    time_us = read.recorded_us(log, index, leaf)
    asked = f"{log}/{index}" if asked is None else asked
    others = cut_at_time(reader, time_us, time_us, asked, read)
    sizes = {**others.sizes, log: index + 1}
    unsettled = tuple(other for other in others.unsettled if other != log)
    return Cut(sizes, time_us, unsettled, False, asked, position)


def _head(reader: Reader, asked: str) -> Cut:
    """All that is committed now. The sizes are the point, so nothing about it is unsettled."""
    return Cut(reader.sizes(), None, (), False, asked, None)


def parse_range(text: str) -> tuple[str, str]:
    """The two points of `A..B`; `A..` means up to HEAD. Raises InvalidInput."""
    start, dots, end = text.partition("..")
    if not dots or not start or ".." in end:
        raise InvalidInput(f"{_shown(text)} is no range; write A..B, two points, or A.. up to HEAD")
    return start, end or "HEAD"


def locate(reader: Reader, text: str, read: Read | None = None) -> Position:
    """(log, index) of the entry that a POSITION names. Raises InvalidInput, NotFound, Ambiguous."""
    if len(text) > MAX_POSITION_CHARS:
        raise InvalidInput(f"a position of {len(text)} characters is none")
    read = Read(reader) if read is None else read
    from_end = _FROM_END.fullmatch(text)
    if from_end:
        return _from_end(read, text, from_end[1], int(from_end[2] or 0))
    in_log = _IN_LOG.fullmatch(text)
    if in_log:
        log, size = _known_log(read, int(in_log[1]))
        return _existing(log, int(in_log[2]), size)
    if text.isascii() and text.isdigit():
        return _bare_index(read, text)
    if text.startswith("sha256:"):
        return _by_hash(reader, text)
    return _by_event_id(reader, text)


def _from_end(read: Read, text: str, log: str | None, back: int) -> Position:
    number, size = _only_log(read, text) if log is None else _known_log(read, int(log))
    if back >= size:
        raise NotFound(f"{text}: log {number} has only {size} entries")
    return number, size - 1 - back


def _bare_index(read: Read, text: str) -> Position:
    if not _INDEX.fullmatch(text):
        raise InvalidInput(
            f"{_shown(text)} is no index (no leading zeros); for an event id write id:{text[:80]}"
        )
    index = int(text) if len(text) <= len(str(MAX_INDEX)) else MAX_INDEX
    log, size = _only_log(read, text)
    return _existing(log, index, size)


def _existing(log: int, index: int, size: int) -> Position:
    if index >= size:
        raise NotFound(f"log {log} has {size} entries; there is no index {index}")
    return log, index


def _only_log(read: Read, text: str) -> tuple[int, int]:
    """The only log of the ledger, and its size."""
    sizes = read.sizes()
    if len(sizes) == 1:
        return next(iter(sizes.items()))
    if not sizes:
        raise NotFound(f"{text}: this ledger has no log")
    listed = ", ".join(f"{log}/{text}" for log in list(sizes)[:MAX_FITS_LISTED])
    raise Ambiguous(f"{text} fits {len(sizes)} logs; say which: {listed}")


def _known_log(read: Read, log: int) -> tuple[int, int]:
    """A log of the ledger, and its size."""
    sizes = read.sizes()
    if log not in sizes:
        raise NotFound(f"there is no log {log}; this ledger has {', '.join(map(str, sizes))}")
    return log, sizes[log]


def _by_hash(reader: Reader, text: str) -> Position:
    digits = text.removeprefix("sha256:").lower()
    if not MIN_HASH_DIGITS <= len(digits) <= MAX_HASH_DIGITS or not _HEX.fullmatch(digits):
        raise InvalidInput(
            f"{_shown(text)} is no leaf hash; write sha256: and {MIN_HASH_DIGITS} to "
            f"{MAX_HASH_DIGITS} hex digits"
        )
    fits = reader.find_leaf_hash(digits, MAX_FITS_LISTED + 1)
    return _one_of(reader, text, sorted(fits))


def _by_event_id(reader: Reader, text: str) -> Position:
    wanted = text.removeprefix("id:")
    if not wanted:
        raise InvalidInput("an empty text is no position")
    return _one_of(reader, text, event_positions(reader, wanted))


def event_positions(reader: Reader, text: str) -> list[Position]:
    """(log, index) of the entries that ID or SOURCE:ID fits, sorted."""
    fits = set(reader.find_event(text))
    for source, event_id in _splits(text):
        fits.update(reader.find_event(event_id, source))
    return sorted(fits)


def _splits(text: str) -> Iterator[tuple[str, str]]:
    """(SOURCE, ID) for every colon that may separate them: ids and sources may hold colons too."""
    at = text.find(":")
    for _ in range(MAX_SOURCE_SPLITS):
        if at < 0:
            return
        if at and at + 1 < len(text):
            yield text[:at], text[at + 1 :]
        at = text.find(":", at + 1)


def _one_of(reader: Reader, text: str, fits: list[Position]) -> Position:
    if len(fits) == 1:
        return fits[0]
    if not fits:
        raise NotFound(
            f"nothing fits {_shown(text)}: no time, no position and no event id of this ledger"
        )
    listed = ", ".join(_described(reader, fit) for fit in fits[:MAX_FITS_LISTED])
    more = ", ..." if len(fits) > MAX_FITS_LISTED else ""
    raise Ambiguous(f"{_shown(text)} fits several entries; say which: {listed}{more}")


def _described(reader: Reader, position: Position) -> str:
    log, index = position
    event = trusted_record(log, index, reader.leaf(log, index)).event
    return f"{log}/{index}" + (f" ({event.source}:{event.event_id})" if event else "")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
