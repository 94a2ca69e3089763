"""Which entries of a log an export takes: all, those of some datasets, or those that fit a query.

Schema entries are always taken: without them nothing could be read, nor checked, offline.
"""

import heapq
from collections.abc import Iterable, Iterator

from audit.ledger.export.manifest import Selection
from audit.log.entry import Kind
from audit.replay.events import events
from audit.replay.points import Cut
from audit.replay.query import parse_query
from audit.store.contract import Located, Reader


def selected(
    reader: Reader, selection: Selection, log: int, start: int, stop: int, now_us: int
) -> Iterator[Located]:
    """The entries with start <= index < stop, in order, each once. Raises InvalidInput."""
    if selection.whole:
        return reader.leaves(log, start, stop)
    schemas = (
        found for found in reader.special(log, stop, int(Kind.EVENT)) if found.index >= start
    )
    parts: list[Iterable[Located]] = [schemas]
    if selection.query:
        cut = Cut({log: stop}, None, (), False, "the export", None)
        query = parse_query(selection.query, now_us)
        fitting = events(reader, query, cut, since={log: start})
        parts.append(Located(record.index, record.leaf) for record in fitting)
    else:
        names = selection.entities or ()
        parts.extend(reader.entity(log, name, None, stop, start) for name in names)
    return _once(heapq.merge(*parts, key=lambda found: found.index))


def _once(located: Iterable[Located]) -> Iterator[Located]:
    last = -1
    for found in located:
        if found.index != last:
            last = found.index
            yield found
