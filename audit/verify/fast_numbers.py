"""The producers' numbers in the fast lane: marked in a page of bytes, by the bytes they come as.

A number is a zigzag varint, its lowest 13 bits in the first two groups. So as long as a producer's
numbers stay in one page of 8,192, what follows those two groups is the same bytes, and marking a
number costs a look-up of two bytes. A page is handed to `ProducerNumbers` when the next one begins.
"""

from audit.event.wire import decode_long, encode_long
from audit.verify.steps.numbers import PAGE_NUMBERS, PAGE_SHIFT, ProducerNumbers

Page = tuple[bytes, dict[bytes, int], bytearray, int]
"""(what follows the first two groups, groups -> place in the page, the page, its number)"""

NO_PAGE: Page = (b"", {}, bytearray(), -1)

_FIRST = {encode_long(number): number for number in range(PAGE_NUMBERS)}
"""Numbers of page 0, which end within two groups."""
_LATER = {
    bytes((low << 1 | 0x80, high | 0x80)): high << 6 | low
    for high in range(128)
    for low in range(64)
}
_DIGITS = bytes((48, 49)) + bytes(254)
"""Marks to binary digits."""


class FastNumbers:
    """Open pages by the bytes that an event ends with, up to its number.

    The keys of `pages` are: two nulls, the producer id as encoded, and the branch of the number.
    What is marked before `restart` says for whom is marked for nobody.
    """

    def __init__(self) -> None:
        self.pages: dict[bytes, Page] = {}
        self._numbers: ProducerNumbers | None = None
        self._who: dict[bytes, tuple[str, str]] = {}

    def restart(self, numbers: ProducerNumbers | None) -> None:
        """Forget the marks; from now on they count, when there is somebody to take them."""
        self.pages.clear()
        self._numbers = numbers

    def learn(self, prefix: bytes, producer_id: str, source: str) -> None:
        """A producer whose events may end so."""
        self._who.setdefault(prefix, (producer_id, source))

    def note(self, rest: bytes, end: int) -> None:
        """Mark the number at `end`, where it is known to be one, and open its page."""
        prefix = rest[:end]
        number, _ = decode_long(rest, end)
        place = number >> PAGE_SHIFT
        page = self.pages.get(prefix, NO_PAGE)
        if page[3] != place:
            self._close(prefix, page)
            after, places = (rest[end + 2 :], _LATER) if place else (b"", _FIRST)
            page = self.pages[prefix] = (after, places, bytearray(PAGE_NUMBERS), place)
        page[2][number & (PAGE_NUMBERS - 1)] = 1

    def finish(self) -> None:
        """Hand over all marks."""
        for prefix, page in self.pages.items():
            self._close(prefix, page)
        self.pages.clear()

    def _close(self, prefix: bytes, page: Page) -> None:
        _, _, marks, place = page
        if place >= 0 and self._numbers is not None:
            producer_id, source = self._who[prefix]
            bits = int(marks[::-1].translate(_DIGITS), 2)
            self._numbers.take_page(producer_id, place, bits, source)
