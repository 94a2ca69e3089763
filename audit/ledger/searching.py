"""What the ledger answers about its events: one part of `Ledger`."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from audit.errors import AuditError
from audit.replay.fastpath import FAST_FROM_ENTRIES
from audit.replay.points import AsOf, Cut

if TYPE_CHECKING:
    from audit.log.record import Record
    from audit.replay.columnar.kept.model import ReadModel
    from audit.replay.columnar.kept.search import Columns
    from audit.replay.events import Counted
    from audit.replay.paging import Page
    from audit.replay.query import Query
    from audit.store.contract import Reader


MAX_ENTRIES_BEHIND = 200_000
"""So much may be missing in a read model that any search asks: a second or two of building."""
MAX_ENTRIES_BEHIND_IN_HASTE = 70_000
"""The same where time is limited; more than a read model keeps in memory before it writes."""


class Searching:
    """The methods of `Ledger` that find events by a query (see `audit.replay.query`).

    Which entries are looked at is told by the store's indexes and by the read model, where there is
    one; what is given out was judged by its leaf. `scan=True` asks no read model, and decodes
    whatever the store's indexes do not rule out.
    """

    reader: "Reader"

    if TYPE_CHECKING:  # what the ledger itself brings

        def now_us(self) -> int:
            """See `Ledger.now_us`."""

        def cut(self, as_of: AsOf | Cut = None) -> Cut:
            """See `Ledger.cut`."""

        @property
        def read_model(self) -> ReadModel | None:
            """See `Ledger.read_model`."""

    def _columns(self, query: "Query", may_build: bool = True) -> "ReadModel | None":
        """The read model, where it is worth asking; asking brings it up to the log.

        So it is when little is missing in it, or when the other way is to decode all entries; where
        it is enough to walk through the leaves once, looking for some bytes, that is less work.
        """
        try:
            model = self.read_model
            if model is None or (model.building and not (may_build and query.costly)):
                return None
            states = model.state()
        except (AuditError, ImportError):
            return None
        if sum(state.size for state in states) < FAST_FROM_ENTRIES:
            return None
        behind = sum(max(0, state.size - state.sealed) for state in states)
        few = behind <= (MAX_ENTRIES_BEHIND if may_build else MAX_ENTRIES_BEHIND_IN_HASTE)
        return model if few or (may_build and query.costly) else None

    def events(
        self,
        query: str = "",
        as_of: AsOf | Cut = None,
        newest_first: bool = False,
        limit: int | None = None,
        since: Mapping[int, int] | None = None,
        *,
        scan: bool = False,
    ) -> "Iterator[Record]":
        """The records that a query fits, oldest first.

        `since`: log -> size; only what came after. `content` reads what a record's event says.
        """
        from audit.replay.events import events
        from audit.replay.query import parse_query

        return events(
            self.reader,
            parse_query(query, self.now_us()),
            self.cut(as_of),
            newest_first,
            limit,
            since,
            columns=self._columns,
            scan=scan,
        )

    def page(
        self,
        query: str = "",
        as_of: AsOf | Cut = None,
        *,
        after: str | None = None,
        limit: int = 100,
        newest_first: bool = True,
        scan: bool = False,
        within_s: float | None = None,
    ) -> "Page":
        """At most `limit` records that a query fits, newest first, and the token of what follows.

        `after`: the token (`Page.next`) of the page before, given with the same query, point and
        order: the pages are of one answer, whatever is written in between. `within_s`: seconds of
        searching after which a page ends before it is full (`Page.stopped`). Raises InvalidInput
        for a token that is none or another answer's; LimitExceeded for more than 10,000 records.
        """
        from audit.replay.paging import page

        cut, now_us = self.cut(as_of), self.now_us()
        return page(
            self.reader,
            query,
            cut,
            now_us,
            after,
            limit,
            newest_first,
            self._columns_within(within_s),
            scan,
            within_s,
        )

    def _columns_within(self, within_s: float | None) -> "Callable[[Query], Columns | None]":
        """Who has little time does not build a read model first, however costly the search is."""
        if within_s is None:
            return self._columns
        return lambda query: self._columns(query, may_build=False)

    def count(
        self,
        query: str = "",
        as_of: AsOf | Cut = None,
        *,
        scan: bool = False,
        within_s: float | None = None,
    ) -> "Counted":
        """How many records a query fits, exactly: `number`, of it `by_columns` without a leaf.

        `within_s`: seconds of searching after which it ends, not `complete`.
        """
        from audit.replay.events import Within, count_events
        from audit.replay.query import parse_query

        parsed = parse_query(query, self.now_us())
        within = None if within_s is None else Within(within_s)
        columns = self._columns_within(within_s)
        return count_events(self.reader, parsed, self.cut(as_of), columns, scan, within)
