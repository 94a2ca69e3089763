"""Finding runs without reading all of them: the same answers as `recorded.run_search` gives."""

from typing import NamedTuple

from audit.lineage.recorded.run_index import Runs, Told
from audit.lineage.recorded.run_search import checked_status
from audit.lineage.recorded.runs import Run
from audit.lineage.tracing.record_index import RecordIndex, index_of
from audit.replay.points import Cut
from audit.store.contract import Reader


class RunsPage(NamedTuple):
    """Some of the runs that fit, newest first; `count`: how many fit in all."""

    runs: list[Run]
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here


def runs_page(
    reader: Reader,
    cut: Cut,
    component: str | None = None,
    since_us: int | None = None,
    until_us: int | None = None,
    status: str | None = None,
    *,
    skip: int = 0,
    limit: int,
) -> RunsPage:
    """At most `limit` of what `search_runs` finds, after the first `skip`. Raises InvalidInput."""
    wanted = None if status is None else checked_status(status)
    index = index_of(reader, cut)
    found = [
        told
        for told in index.lines(cut)
        if (component is None or told.name == component)
        and (since_us is None or told.time_us >= since_us)
        and (until_us is None or told.time_us < until_us)
        and (wanted is None or told.status == wanted)
    ]
    found.sort(key=lambda told: (told.time_us, told.order[0]), reverse=True)
    return RunsPage(list(_runs(reader, cut, index, found[skip : skip + limit])), len(found))


def runs_of(reader: Reader, cut: Cut, component: str) -> Runs:
    """The runs of a component, in the order in which they were first recorded."""
    index = index_of(reader, cut)
    found = [told for told in index.lines(cut) if told.name == component]
    return _runs(reader, cut, index, found)


def runs_with_dataset(reader: Reader, cut: Cut, key: str, digest: str | None) -> list[str]:
    """The REFs of the runs that read a dataset version: by its name, or the same content."""
    index = index_of(reader, cut)
    told = list(index.runs.reading_named.get(key, ()))
    told += index.runs.reading.get(digest, ()) if digest else ()
    return [f"run/{one.run_id}" for one in index.runs.naming(told, index.there(cut))]


def runs_with_features(reader: Reader, cut: Cut, name: str, version: str) -> list[str]:
    """The REFs of the runs that used a feature definition."""
    index = index_of(reader, cut)
    told = index.runs.of_features.get((name, version), ())
    return [f"run/{one.run_id}" for one in index.runs.naming(told, index.there(cut))]


def _runs(reader: Reader, cut: Cut, index: RecordIndex, told: list[Told]) -> Runs:
    return Runs(told, lambda one: index.run(reader, cut, one))
