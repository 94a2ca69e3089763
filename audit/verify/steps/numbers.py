"""Step: the numbers that producers give their events, over all logs together: which are in none.

An emitter counts its events from 0, whatever partition each goes to. A number missing between those
that are there is an event that was lost before the log, or is still on its way. Only what came from
a source is looked at: in embedded mode a repeat is dropped without a trace, and its number with it.

Numbers are kept as bits, in pages of 8,192: an eighth of a byte for each event, and nothing for a
page that is whole.
"""

import re
from collections.abc import Iterator

from audit.errors import FormatError, LimitExceeded
from audit.event.envelope import Event, decode_event
from audit.log.entry import Entry
from audit.verify.noted import Notes

PAGE_SHIFT = 13
PAGE_NUMBERS = 1 << PAGE_SHIFT
"""Numbers in one page."""
MAX_PAGES = 100_000
"""Pages that are not whole, of all producers together: about 100 MB, or 800 million numbers."""
MAX_PRODUCERS = 100_000
"""Producers whose numbers are followed; each process that emits is one."""
MAX_RANGES_NAMED = 5
"""Ranges of missing numbers that a warning names."""

TOMBSTONE_REASON = "TOMBSTONE"

_FULL = (1 << PAGE_NUMBERS) - 1
_SEEN = re.compile("1+")


class _Producer:
    """One producer: the application it is part of, and page -> bits of the numbers seen."""

    __slots__ = ("pages", "source")

    def __init__(self) -> None:
        self.source = ""
        self.pages: dict[int, int] = {}


class ProducerNumbers:
    """The numbers seen so far.

    `unreadable`: quarantined messages whose number cannot be read. `expired`: offsets whose message
    the source no longer had.
    """

    def __init__(self) -> None:
        self.unreadable = 0
        self.expired = 0
        self._producers: dict[str, _Producer] = {}
        self._pages = 0
        self._left_out = False

    def take_event(self, event: Event) -> None:
        """See the number of an event that came from a source."""
        if event.producer_id is not None and event.producer_sequence is not None:
            self.take(event.producer_id, event.producer_sequence, event.source)

    def take_quarantined(self, entry: Entry) -> None:
        """See the number of a message that was not accepted but did arrive."""
        try:
            self.take_event(decode_event(entry.event))
        except (FormatError, LimitExceeded):
            self.unreadable += not (entry.reason or "").startswith(TOMBSTONE_REASON)

    def take(self, producer_id: str, number: int, source: str = "") -> None:
        """See one number of a producer."""
        if number >= 0:
            bit = 1 << (number & (PAGE_NUMBERS - 1))
            self.take_page(producer_id, number >> PAGE_SHIFT, bit, source)

    def take_page(self, producer_id: str, page: int, bits: int, source: str = "") -> None:
        """See the numbers of one page."""
        producer = self._producers.get(producer_id)
        if producer is None:
            if len(self._producers) >= MAX_PRODUCERS:
                self._left_out = True
                return
            producer = self._producers[producer_id] = _Producer()
        producer.source = producer.source or source
        known = producer.pages.get(page)
        if known is None:
            if self._pages >= MAX_PAGES:
                self._left_out = True
                return
            self._pages += 1
        elif known is _FULL:
            return
        bits |= known or 0
        if bits == _FULL:
            bits = _FULL  # the one object that all whole pages share
            self._pages -= 1
        producer.pages[page] = bits

    def report(self, warnings: Notes) -> None:
        """One warning for each producer with numbers that no log has."""
        if self._left_out:
            warnings.add(
                "producers_not_followed",
                None,
                f"there are over {MAX_PRODUCERS:,} producers, or numbers in over {MAX_PAGES:,} "
                "pages: their gaps were not looked for",
            )
            return
        for producer_id, producer in sorted(self._producers.items()):
            gaps = list(_missing(producer.pages))
            if gaps:
                warnings.add("producer_gap", None, self._words(producer_id, producer.source, gaps))

    def _words(self, producer_id: str, source: str, gaps: list[tuple[int, int]]) -> str:
        count = sum(after - first for first, after in gaps)
        named = ", ".join(_range(*gap) for gap in gaps[:MAX_RANGES_NAMED])
        if len(gaps) > MAX_RANGES_NAMED:
            named += f" and {len(gaps) - MAX_RANGES_NAMED:,} more ranges"
        are = "number" if count == 1 else f"{count:,} numbers"
        words = (
            f"no log has the {are} {named} of producer {producer_id!a:.160}"
            + (f" of {source!a:.160}" if source else "")
            + ": lost before the log, or still on the way"
        )
        perhaps = [
            f"{number:,} {what}"
            for number, what in (
                (self.unreadable, "quarantined messages that cannot be read"),
                (self.expired, "offsets that expired unread"),
            )
            if number
        ]
        return f"{words}; {' and '.join(perhaps)} may have held them" if perhaps else words


def _missing(pages: dict[int, int]) -> Iterator[tuple[int, int]]:
    """[first, after) of the numbers missing between the lowest and the highest that were seen."""
    expected = -1
    for page in sorted(pages):
        base = page << PAGE_SHIFT
        for first, after in _seen(pages[page]):
            if 0 <= expected < base + first:
                yield expected, base + first
            expected = base + after


def _seen(bits: int) -> Iterator[tuple[int, int]]:
    if bits is _FULL:
        return iter(((0, PAGE_NUMBERS),))
    # The lowest number first.
    return (found.span() for found in _SEEN.finditer(f"{bits:b}"[::-1]))


def _range(first: int, after: int) -> str:
    return str(first) if after == first + 1 else f"{first} to {after - 1}"
