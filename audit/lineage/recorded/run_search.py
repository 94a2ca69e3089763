"""Finding runs: of one component, in a window of time, with one status; newest first.

A run is placed by when it says it started, else by when it was recorded. Failed runs count like
all others, and so do those that began and never told how they ended.
"""

from audit.errors import InvalidInput
from audit.lineage.recorded.runs import ABORT, COMPLETE, FAIL, STARTED, Run, find_runs
from audit.replay.points import Cut
from audit.store.contract import Reader

STATUSES = (COMPLETE, FAIL, STARTED, ABORT)
"""What a run's newest record says; START: no end of it is recorded."""


def search_runs(
    reader: Reader,
    cut: Cut,
    component: str | None = None,
    since_us: int | None = None,
    until_us: int | None = None,
    status: str | None = None,
) -> list[Run]:
    """The runs that fit, newest first. `since_us` is in the window, `until_us` is not any more.

    Raises InvalidInput for a status that there is none of.
    """
    wanted = None if status is None else checked_status(status)
    found = [
        run
        for run in find_runs(reader, cut)
        if (component is None or run.name == component)
        and (since_us is None or run.time_us >= since_us)
        and (until_us is None or run.time_us < until_us)
        and (wanted is None or run.status == wanted)
    ]
    return sorted(found, key=lambda run: (run.time_us, run.record.recorded_time_us), reverse=True)


def checked_status(status: str) -> str:
    """A run's status in capitals. Raises InvalidInput."""
    wanted = status.upper()
    if wanted not in STATUSES:
        raise InvalidInput(f"{status!r:.40} is no status of a run; it is {', '.join(STATUSES)}")
    return wanted


def has_column(run: Run, column: str) -> bool:
    """Whether something that a run read or made has a column of this name, as its record says."""
    return any(column in use.columns for use in (*run.inputs, *run.outputs))
