"""What a message is: a change, one of Debezium's other messages, or none that can be taken in."""

import logging
from typing import NamedTuple

from audit.capture.debezium.aside import Keep, set_aside
from audit.capture.debezium.decode import Decoder
from audit.capture.debezium.entities import Entities
from audit.capture.debezium.envelope import CHANGE, Change, change_of, kind_of
from audit.capture.debezium.identity import Place
from audit.errors import InvalidInput
from audit.event.build import Built
from audit.event.envelope import encode_event
from audit.kafka.transport import Fetched

TOMBSTONE, SET_ASIDE = "tombstone", "set aside"
MAX_TOLD = 20
"""How many of the messages that are set aside are logged, each with its reason."""
GAP_SOURCE = "debezium"
"""The source of gaps where no other is given: the message's own may be what is wrong."""

_log = logging.getLogger("audit.capture")


class Outcome(NamedTuple):
    """A word for the count, and a change; or an event for what is none, and why it is none."""

    word: str
    change: Change | None = None
    aside: Built | None = None
    why: str = ""


class Judge:
    """Judges the messages of one run. `keep`: where bytes go that are too large for an event."""

    def __init__(self, decoder: Decoder, entities: Entities, source: str | None) -> None:
        """`source`: of all events, in place of each connector's own name."""
        self.keep: Keep | None = None
        self._decoder = decoder
        self._entities = entities
        self._source = source
        self._told = 0

    def outcome(self, topic: str, partition: int, message: Fetched) -> Outcome:
        """What a message says. Raises Unavailable when that cannot be known now."""
        if message.value is None:
            return Outcome(TOMBSTONE)
        place = Place(topic, partition, message.offset)
        try:
            said = self._decoder.decode(message.value)
            kind = kind_of(said)
            if kind != CHANGE:
                return Outcome(kind)
            key = None if message.key is None else self._decoder.decode(message.key)
            change = change_of(said, key, place, self._entities, self._source)
            return Outcome(change.op, change)
        except InvalidInput as error:
            return Outcome(SET_ASIDE, aside=self.aside(place, message, error), why=str(error))

    def aside(
        self, place: Place, message: Fetched, error: InvalidInput, change: Change | None = None
    ) -> Built:
        """The event for a message that is none; said in the log, unless there are very many."""
        if self._told < MAX_TOLD:
            self._told += 1
            _log.error("%s is set aside: %s", place, str(error).replace("\n", "; "))
        source, keep = self._source or GAP_SOURCE, self.keep
        if change is not None:
            entity = change.entity_type, change.key
            try:
                built = set_aside(place, message, error, source, entity=entity, keep=keep)
                encode_event(built.event)
                return built
            except InvalidInput:
                pass  # its name or key may be just what no event may have
        return set_aside(place, message, error, source, keep=keep)
