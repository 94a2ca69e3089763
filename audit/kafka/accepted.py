"""What log 0 says of a ledger's source, in CONTROL entries `source.accepted`."""

from typing import NamedTuple

from audit.errors import FormatError
from audit.event.book import SchemaBook
from audit.event.payload import decode_payload
from audit.log.entry import Kind
from audit.log.record import read_record
from audit.store.contract import LOG_OF_THE_LEDGER, Reader

ACCEPTED_TYPE = "source.accepted"
_TYPE_BYTES = ACCEPTED_TYPE.encode()


class Accepted(NamedTuple):
    """What log 0 says of the source; `topic_id` is None where no client could ever tell."""

    topic: str
    partitions: int
    topic_id: str | None


def newest_accepted(reader: Reader) -> Accepted | None:
    """The newest `source.accepted` of log 0; None when the ledger never read a topic.

    One that does not know the topic's id keeps the one known before. Raises FormatError.
    """
    book = SchemaBook.with_builtins()
    newest: Accepted | None = None
    for _, leaf in reader.special(LOG_OF_THE_LEDGER, kind=Kind.CONTROL):
        # The type stands in the leaf as it is. Most entries are heads, and there are very many.
        if _TYPE_BYTES not in leaf:
            continue
        event = read_record(LOG_OF_THE_LEDGER, leaf).event
        if event is None or event.type != ACCEPTED_TYPE:
            continue
        match decode_payload(event, book):
            case {"topic": str(topic), "partitions": int(partitions), **rest}:
                topic_id = rest.get("topic_id")
                if not isinstance(topic_id, str):
                    same = newest is not None and newest.topic == topic
                    topic_id = newest.topic_id if newest is not None and same else None
                newest = Accepted(topic, partitions, topic_id)
            case _:
                raise FormatError(f"an entry {ACCEPTED_TYPE} of log 0 does not say what was")
    return newest
