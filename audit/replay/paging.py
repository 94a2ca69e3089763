"""Pages of what a query finds: each begins where the one before ended, whatever is written since.

A page ends with a token, opaque to who holds it, that the next one is asked for with:

    token  = base64url(content || first 8 bytes of SHA-256(content)), without padding
    content = %x01 || digest of what was asked || unsigned LEB128 numbers:
              now_us, log, index of the last entry given, number of logs, then log and size of each

The sizes are the cut of the first page, and `now_us` its clock (for `recorded:>=-7d`), so that all
pages are of one answer. A token of another query, order, point or ledger is refused. It is no
secret and grants nothing: whoever makes one up has asked for a page that he could ask for anyway.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from audit.errors import InvalidInput, LimitExceeded, NotFound
from audit.log.record import Record
from audit.replay.events import GetColumns, Within, events, no_columns
from audit.replay.points import Cut
from audit.replay.query import parse_query
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

MAX_PAGE_RECORDS = 10_000
"""Records of one page: they are held in memory."""
DEFAULT_PAGE_RECORDS = 100
MAX_TOKEN_CHARS = 8_192
MAX_NUMBER = 2**63 - 1
_VERSION = b"\x01"
_DIGEST_BYTES = 8


class Page(NamedTuple):
    """Some records in the order asked for, and the token of the page after; None at the end.

    `stopped`: the time was over before the page was full: `next` goes on from there.
    """

    records: list[Record]
    next: str | None
    stopped: bool = False


class _Place(NamedTuple):
    """What a token says."""

    now_us: int
    log: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    sizes: dict[int, int]


def page(
    reader: Reader,
    query: str,
    cut: Cut,
    now_us: int,
    after: str | None = None,
    limit: int = DEFAULT_PAGE_RECORDS,
    newest_first: bool = True,
    columns: GetColumns = no_columns,
    scan: bool = False,
    within_s: float | None = None,
) -> Page:
    """At most `limit` records that match; with `after`, those that follow the page it came with.

    `cut`: the point as it is asked for now; a token brings the cut of its first page instead.
    `within_s`: seconds after which the page ends, full or not. Raises InvalidInput for a token that
    is none, or another answer's, and for a wrong query.
    """
    if not 1 <= limit <= MAX_PAGE_RECORDS:
        raise LimitExceeded(f"a page has from 1 to {MAX_PAGE_RECORDS:,} records, not {limit:,}")
    asked = _digest(reader, query, cut.asked, newest_first)
    since = below = None
    if after is not None:
        place = _parsed(after, asked)
        now_us = place.now_us
        cut = _same_cut(reader, cut, place.sizes)
        bounds = _rest(reader, place, newest_first)
        since, below = (None, bounds) if newest_first else (bounds, None)
    parsed = parse_query(query, now_us)
    within = None if within_s is None else Within(within_s)
    found = events(
        reader,
        parsed,
        cut,
        newest_first,
        limit + 1,
        since,
        below,
        columns=columns,
        scan=scan,
        within=within,
    )
    records = list(found)
    last = None
    if len(records) > limit:
        last = records[limit - 1]
    elif within is not None and within.is_over:
        last = within.last
    if last is None:
        return Page(records, None)
    token = _token(asked, _Place(now_us, last.log, last.index, cut.sizes))
    return Page(records[:limit], token, len(records) <= limit)


def _digest(reader: Reader, query: str, point: str, newest_first: bool) -> bytes:
    """Of all that makes an answer another one."""
    origins = [info.origin for info in reader.logs()[:1]]
    said = json.dumps([origins, query.strip(), point, newest_first])
    return sha256(said.encode()).digest()[:_DIGEST_BYTES]


def _same_cut(reader: Reader, cut: Cut, sizes: dict[int, int]) -> Cut:
    for log, size in sizes.items():
        if size > reader.size(log):
            raise InvalidInput(
                f"--after: log {log} has no {size:,} entries; is the token of another ledger?"
            )
    return cut._replace(sizes=sizes)


def _rest(reader: Reader, place: _Place, newest_first: bool) -> dict[int, int]:
    """log -> size: where the records that follow the place begin, or with newest first end.

    Records follow each other by recorded time, then log.
    """
    if place.index >= place.sizes.get(place.log, 0):
        raise InvalidInput("--after: the token names an entry beyond its own point")
    try:
        leaf = reader.leaf(place.log, place.index)
    except NotFound:
        raise InvalidInput("--after: the token names an entry that is not in this ledger") from None
    time_us = trusted_record(place.log, place.index, leaf).recorded_time_us
    bounds = {}
    for log in place.sizes:
        if log == place.log:
            bounds[log] = place.index if newest_first else place.index + 1
        else:
            bounds[log] = reader.size_at(log, time_us if log < place.log else time_us - 1)
    return bounds


def _token(asked: bytes, place: _Place) -> str:
    numbers = [place.now_us, place.log, place.index, len(place.sizes)]
    for log, size in place.sizes.items():
        numbers += [log, size]
    content = _VERSION + asked + b"".join(map(_spelled, numbers))
    sealed = content + sha256(content).digest()[:_DIGEST_BYTES]
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _parsed(token: str, asked: bytes) -> _Place:
    """What a token says. Raises InvalidInput."""
    broken = InvalidInput("--after: this is no token of a page, or not all of it")
    if not isinstance(token, str) or len(token) > MAX_TOKEN_CHARS:
        raise broken
    try:
        sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise broken from None
    content, check = sealed[:-_DIGEST_BYTES], sealed[-_DIGEST_BYTES:]
    if content[:1] != _VERSION or sha256(content).digest()[:_DIGEST_BYTES] != check:
        raise broken
    if content[1 : 1 + _DIGEST_BYTES] != asked:
        raise InvalidInput(
            "--after: the token is of another query, order, --as-of or ledger\n"
            "give it with exactly what its page was asked for with"
        )
    numbers = list(_numbers(content[1 + _DIGEST_BYTES :]))
    if len(numbers) < 4 or len(numbers) != 4 + 2 * numbers[3]:
        raise broken
    sizes = dict(zip(numbers[4::2], numbers[5::2], strict=True))
    return _Place(numbers[0], numbers[1], numbers[2], sizes)


def _spelled(number: int) -> bytes:
    spelled = bytearray()
    while number > 0x7F:
        spelled.append(number & 0x7F | 0x80)
        number >>= 7
    spelled.append(number)
    return bytes(spelled)


def _numbers(data: bytes) -> Iterator[int]:
    """The numbers in the bytes; nothing for bytes that end within one, or spell too large a one."""
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if value > MAX_NUMBER:
            return
        if byte < 0x80:
            yield value
            value = shift = 0
