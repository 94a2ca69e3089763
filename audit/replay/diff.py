"""What changed between two points: per key added, removed or changed, with old and new.

diff(a, b) covers (a, b]: what is recorded after a, up to and including b; so that as_of(a) with
the diff applied is as_of(b). Where b is before a it goes backwards. Fields are called as they are
called at the later of both points, on both sides, so that a renamed field is no change.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from audit.log.entry import Kind
from audit.replay.asof import rows_at
from audit.replay.columns import Naming
from audit.replay.fastpath import fast_differences
from audit.replay.fold import Row, fold
from audit.replay.known import require_dataset, require_recorded
from audit.replay.points import Cut
from audit.replay.refs import Ref
from audit.replay.row_change import RowChange, change_of
from audit.replay.steps import Steps
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

if TYPE_CHECKING:
    from audit.replay.columnar.fold.differ import Differences

__all__ = ["RowChange", "compared", "diff", "diff_row", "few_keys", "later_of", "touched"]

FAST_DIFF_ENTRIES = 64
"""Fewer entries between two cuts are read one by one."""
MAX_SINGLE_KEYS = 200
"""Up to so many touched keys are always read each on its own."""
ENTRIES_FOR_A_KEY = 25
"""So many entries are walked over in the time that reading one key on its own takes.

More touched keys than that are worth reading the dataset twice.
"""


class Views(NamedTuple):
    """The same dataset at two points."""

    a: Steps
    b: Steps
    valid_a_us: int | None
    valid_b_us: int | None

    def change_between(self, later: Steps, key: str) -> RowChange | None:
        """As `change`, reading the key once: no schema lies between that explains older entries."""
        steps = later.of_key(key)
        before = [step for step in steps if self.a.cut.holds(step.position)]
        after = [step for step in steps if self.b.cut.holds(step.position)]
        return change_of(key, fold(before, self.valid_a_us).row, fold(after, self.valid_b_us).row)

    def change(self, key: str) -> RowChange | None:
        """How one key differs, from its own entries; None when it does not."""
        before = fold(self.a.of_key(key), self.valid_a_us).row
        after = fold(self.b.of_key(key), self.valid_b_us).row
        return change_of(key, before, after)


class Compared(NamedTuple):
    """What is compared. `few`: the keys to read one by one; `differences`: the answer in columns.

    Where there is neither, both points are to be replayed plainly.
    """

    views: Views
    few: list[str] | None
    differences: "Differences | None"


def diff(
    reader: Reader,
    entity_type: str,
    a: Cut,
    b: Cut,
    valid_a_us: int | None = None,
    valid_b_us: int | None = None,
) -> Iterator[RowChange]:
    """The rows of a dataset that differ between two cuts, in byte order of their keys.

    With valid times it compares the rows valid then. Reads what is recorded between the cuts and
    the keys touched there; the whole dataset only where many are touched, or every row may be (the
    valid times differ, a truncate, a new schema). Raises NotFound for an unknown entity type.
    """
    views, few, found = compared(reader, entity_type, a, b, valid_a_us, valid_b_us)
    if found is not None:
        return found.changes()
    keys = few
    if keys is None and valid_a_us == valid_b_us:
        keys = touched(reader, views.a, views.b, few_keys(a, b))
    if keys is None:
        olds, news = rows_at(views.a, views.valid_a_us), rows_at(views.b, views.valid_b_us)
        return _merged(olds.rows(), news.rows())
    return _compare_keys(views, Steps(reader, entity_type, later_of(a, b), views.b.naming), keys)


def compared(
    reader: Reader,
    entity_type: str,
    a: Cut,
    b: Cut,
    valid_a_us: int | None,
    valid_b_us: int | None,
) -> Compared:
    """How a difference is to be found. Raises NotFound for an unknown entity type."""
    require_dataset(reader, entity_type)
    views = _views(reader, entity_type, a, b, valid_a_us, valid_b_us)
    few = None
    if valid_a_us == valid_b_us and _between(a, b) < FAST_DIFF_ENTRIES:
        few = touched(reader, views.a, views.b, few_keys(a, b))
    if few is not None:
        return Compared(views, few, None)
    explained = _schema_between(reader, a, b)
    found = fast_differences(views.a, views.b, valid_a_us, valid_b_us, explained)
    return Compared(views, None, found)


def _between(a: Cut, b: Cut) -> int:
    """How many entries are between the cuts, in all logs."""
    return sum(abs(a.size(log) - b.size(log)) for log in a.sizes.keys() | b.sizes.keys())


def diff_row(
    reader: Reader,
    ref: Ref,
    a: Cut,
    b: Cut,
    valid_a_us: int | None = None,
    valid_b_us: int | None = None,
) -> RowChange | None:
    """How one row differs between two cuts; None when it does not.

    Raises NotFound for a key of which nothing is recorded.
    """
    require_dataset(reader, ref.entity_type)
    views = _views(reader, ref.entity_type, a, b, valid_a_us, valid_b_us)
    if _schema_between(reader, a, b):
        change = views.change(ref.entity_key)
    else:
        later = Steps(reader, ref.entity_type, later_of(a, b), views.b.naming)
        change = views.change_between(later, ref.entity_key)
    if change is None:
        require_recorded(reader, ref)
    return change


def _views(
    reader: Reader, entity_type: str, a: Cut, b: Cut, valid_a_us: int | None, valid_b_us: int | None
) -> Views:
    naming = Naming(reader, entity_type, later_of(a, b))
    return Views(
        Steps(reader, entity_type, a, naming),
        Steps(reader, entity_type, b, naming),
        valid_a_us,
        valid_b_us,
    )


def later_of(a: Cut, b: Cut) -> Cut:
    """The cut at the larger size of every log."""
    sizes = {log: max(a.size(log), b.size(log)) for log in a.sizes.keys() | b.sizes.keys()}
    return b._replace(sizes=sizes)


def few_keys(a: Cut, b: Cut) -> int:
    """Up to so many touched keys it costs less to read each on its own."""
    return max(MAX_SINGLE_KEYS, sum(later_of(a, b).sizes.values()) // ENTRIES_FOR_A_KEY)


def touched(reader: Reader, a: Steps, b: Steps, max_keys: int) -> list[str] | None:
    """The keys with events between two cuts, sorted; None when they are many, or all may differ."""
    keys: set[str] = set()
    for log in a.cut.sizes.keys() | b.cut.sizes.keys():
        start, stop = sorted((a.cut.size(log), b.cut.size(log)))
        if start == stop:
            continue
        if _new_schema(reader, log, start, stop):
            return None
        for index, leaf in reader.entity(log, a.entity_type, None, stop, start):
            event = trusted_record(log, index, leaf).event
            key = None if event is None else event.entity_key
            if key is None or len(keys) > max_keys:
                return None
            keys.add(key)
    return sorted(keys, key=str.encode)


def _schema_between(reader: Reader, a: Cut, b: Cut) -> bool:
    """True when a schema came into any log between the cuts."""
    return any(
        _new_schema(reader, log, *sorted((a.size(log), b.size(log))))
        for log in a.sizes.keys() | b.sizes.keys()
    )


def _new_schema(reader: Reader, log: int, start: int, stop: int) -> bool:
    """True when a schema came in between: what could not be read at a may be readable at b."""
    return any(index >= start for index, _ in reader.special(log, stop, int(Kind.EVENT)))


def _compare_keys(views: Views, later: Steps, keys: list[str]) -> Iterator[RowChange]:
    for key in keys:
        change = views.change_between(later, key)
        if change is not None:
            yield change


def _merged(
    olds: Iterator[tuple[str, Row]], news: Iterator[tuple[str, Row]]
) -> Iterator[RowChange]:
    """Walk rows at both points side by side, in byte order of the keys."""
    old, new = next(olds, None), next(news, None)
    while old is not None or new is not None:
        old_key = None if old is None else old[0].encode()
        new_key = None if new is None else new[0].encode()
        key = min(k for k in (old_key, new_key) if k is not None)
        before = after = None
        if old is not None and old_key == key:
            before, old = old[1], next(olds, None)
        if new is not None and new_key == key:
            after, new = new[1], next(news, None)
        change = change_of(key.decode(), before, after)
        if change is not None:
            yield change
