"""Decoding what a record says once for all who ask."""

from typing import Any

from audit.errors import InvalidInput
from audit.ledger.export.events import Decode
from audit.log.record import Record


class Once:
    """Decodes a record once for all who ask, until it is told to forget."""

    def __init__(self, decode: Decode) -> None:
        """Nothing is decoded yet."""
        self._decode = decode
        self._known: dict[tuple[int, int], Any] = {}

    def __call__(self, record: Record) -> Any:
        """What the record says. Raises InvalidInput as often as it is asked."""
        place = record.log, record.index
        found = self._known.get(place)
        if found is None:
            try:
                found = self._decode(record)
            except InvalidInput as error:
                found = error
            self._known[place] = found
        if isinstance(found, InvalidInput):
            raise found
        return found

    def forget(self) -> None:
        """Drop what is known: a block is done."""
        self._known.clear()
