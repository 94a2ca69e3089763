"""The predictions of a model, as far as a page can look: how many, the first and the newest.

The ledger has no index of models: a few predictions are read from either end, the newest ones and
those after the model was registered. What that leaves open is said.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from audit.event.times import format_time
from audit.ledger import Ledger
from audit.lineage.recorded.predictions import Prediction, read_prediction
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.points import Cut
from audit.web.query_text import term

MAX_NEWEST, MAX_EARLY = 50, 25
"""So many predictions are read from either end: a page has a tenth of a second for all it does."""
PREDICTIONS = "type:prediction"


class Known(NamedTuple):
    """What was found of a model among `looked` predictions; `complete`: these are all there are.

    `is_newest`: some of the newest predictions of the ledger are of it.
    """

    found: int
    looked: int
    complete: bool
    first_us: int | None
    newest_us: int | None
    last_recorded_us: int | None
    is_newest: bool

    def since_when(self, ended_us: int | None) -> str | None:
        """The query whose newest predictions are of this model; None where the newest of all are.

        Of a model that serves no more one would look through all that came since. `ended_us`: when
        it served last.
        """
        if self.is_newest or self.last_recorded_us is None:
            return None
        return f"recorded:<={format_time(max(self.last_recorded_us, ended_us or 0))}"

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        times = {"first": self.first_us, "newest": self.newest_us}
        told = {name: None if us is None else format_time(us) for name, us in times.items()}
        return {
            "found": self.found,
            "looked_through": self.looked,
            "complete": self.complete,
            **told,
        }


def known_of(ledger: Ledger, cut: Cut, model: str, registered_us: int) -> Known:
    """The predictions of NAME@VERSION by a point."""
    newest = ledger.page(PREDICTIONS, cut, limit=MAX_NEWEST)
    records = last = {(one.log, one.index): one for one in newest.records}
    if newest.next is not None:
        since = f"{PREDICTIONS} {term('recorded', '>=' + format_time(registered_us))}"
        early = ledger.page(since, cut, limit=MAX_EARLY, newest_first=False)
        records = last | {(one.log, one.index): one for one in early.records}
    own = list(of_model(Books(ledger.reader, cut), records.values(), model))
    times = sorted(one.time_us for one in own)
    return Known(
        len(own),
        len(records),
        newest.next is None,
        times[0] if times else None,
        times[-1] if times else None,
        max((one.record.recorded_time_us for one in own), default=None),
        any((one.record.log, one.record.index) in last for one in own),
    )


def of_model(books: Books, records: Iterable[Record], model: str) -> Iterator[Prediction]:
    """The predictions that name a model, NAME or NAME@VERSION."""
    is_named, mark = naming(model), model.partition("@")[0].encode(errors="surrogatepass")
    for record in records:
        # Looking for the bytes of the name takes a hundredth of reading the prediction.
        if record.event is not None and mark in record.event.payload:
            prediction = read_prediction(books, record)
            if prediction.problem is None and is_named(prediction):
                yield prediction


def naming(model: str) -> Callable[[Prediction], bool]:
    """Whether a prediction names a model, NAME or NAME@VERSION."""
    name, at, version = model.rpartition("@")

    def is_named(one: Prediction) -> bool:
        if one.model_name == model:
            return True
        return bool(at) and (one.model_name, one.model_version) == (name, version)

    return is_named
