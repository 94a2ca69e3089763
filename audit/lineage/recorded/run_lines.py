"""Runs one a line for other programs: CSV for a spreadsheet, events for OpenLineage's readers."""

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from audit.event.times import format_time
from audit.lineage.recorded.openlineage import run_events
from audit.lineage.recorded.runs import Run
from audit.replay.rows_out import plain_text
from audit.store.contract import Reader

_COLUMNS = (
    *("run", "type", "component", "status", "started", "ended", "owner", "tags", "seed"),
    *("inputs", "outputs", "models", "code_digest", "code_commit", "lock_digest", "error"),
)


def csv_lines(found: Iterable[Run]) -> Iterator[str]:
    """A header and a line per run; each parameter and metric has a column, params.C, metrics.auc.

    What was read and made is there by its digest.
    """
    runs = list(found)
    params = sorted({name for run in runs for name in run.params})
    metrics = sorted({name for run in runs for name in run.metrics})
    names = chain(_COLUMNS, (f"params.{n}" for n in params), (f"metrics.{n}" for n in metrics))
    yield _line(names)
    for run in runs:
        values = chain(map(run.params.get, params), map(run.metrics.get, metrics))
        yield _line(map(_cell, chain(_about(run), values)))


def openlineage_events(reader: Reader, found: Iterable[Run]) -> Iterator[dict[str, Any]]:
    """The runs as OpenLineage events, oldest run first; the namespace is the origin of their log.

    `found`: newest first, as they are searched.
    """
    origins = {info.log: info.origin for info in reader.logs()}
    for run in reversed(list(found)):
        yield from run_events(run, origins[run.record.log])


def _about(run: Run) -> tuple[Any, ...]:
    return (
        *(run.run_id, run.type, run.name, run.status),
        *(None if one is None else format_time(one) for one in (run.started_us, run.ended_us)),
        *(run.owner, " ".join(run.tags), run.seed),
        " ".join(str(use.digest) for use in run.inputs if use.digest is not None),
        " ".join(str(use.digest) for use in run.outputs if use.digest is not None),
        " ".join(str(model) for model in run.models),
        *(run.code_digest, run.code_commit, run.lock_digest, run.error),
    )


def _cell(value: Any) -> str:
    return "" if value is None else plain_text(value)


def _line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
