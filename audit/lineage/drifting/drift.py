"""How the inputs and outputs of a model or a component are distributed now against then.

*Now* is the window from `since` until `until`; of a model its logged predictions count, by their
own time, with their exact values; of a component the profiles of the frames that its runs read and
made, by when they started. *Then* is the baseline: the window of the same length before; or another
window; or what a run read, a model was trained on, or a dataset version holds. Against a training
the report ends with how serving differs from it (see `audit.lineage.drifting.skew`).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from audit.errors import InvalidInput, NotFound
from audit.event.times import MIN_TIME_US, format_time
from audit.event.types import MODEL_VERSION
from audit.lineage.content.distributions import OTHERS
from audit.lineage.content.statistics import MIN_SIZE
from audit.lineage.drifting.drift_columns import CANNOT_TELL, ColumnDrift, compare_column, one_sided
from audit.lineage.drifting.drift_report import DriftReport, compare_groups
from audit.lineage.drifting.held import REPORTS, held_key
from audit.lineage.drifting.observed import (
    INPUTS,
    MAX_GROUPS,
    OUTPUTS,
    Observed,
    Span,
    observe_predictions,
)
from audit.lineage.drifting.observed_runs import (
    MODEL_ENTITY,
    NO_PROFILE,
    Baseline,
    observe_baseline,
    observe_runs,
)
from audit.lineage.drifting.sampling import Sampling, seed_of
from audit.lineage.drifting.skew import compare_skew
from audit.lineage.recorded.records import records_of, text
from audit.lineage.tracing.run_pages import runs_of
from audit.replay.citation import cite
from audit.replay.points import Cut, parse_time
from audit.store.blobs import BlobStore
from audit.store.contract import Reader

MODEL, COMPONENT = "model", "component"
BOTH = "both"
SIDES = (INPUTS, OUTPUTS, BOTH)
DEFAULT_WINDOW_US = 30 * 86_400_000_000
MAX_NAMES_LISTED = 10


class Asked(NamedTuple):
    """A question about drift. `what`: a model NAME or NAME@VERSION, or a component's name.

    `since_us`: default 30 days before `until_us`. `baseline`: default the window before of the same
    length; a REF (run/ID, model/NAME@VERSION, dataset/NAME@VERSION), A..B, or a time from which on.
    `side`: inputs, outputs or both. `by`: a feature whose values are subgroups. `threshold`: of the
    distances L_INFINITY, JENSEN_SHANNON and that of KOLMOGOROV_SMIRNOV, default 0.1.
    """

    what: str
    since_us: int | None
    until_us: int
    baseline: str | None
    side: str
    by: str | None
    threshold: float | None


class _Seen(NamedTuple):
    """Both sides of the comparison. `span`: the baseline's window, where it is one."""

    then: Observed
    now: Observed
    span: Span | None
    baseline: str
    trained: Baseline | None
    remarks: tuple[str, ...]


def drift(
    reader: Reader,
    blobs: BlobStore,
    asked: Asked,
    cut: Cut,
    now_us: int,
    sampling: Sampling | None = None,
) -> DriftReport:
    """Answer a question about drift, with the ledger as it is below the cut.

    `sampling`: of a model's predictions a sample is read where there are many; default all.
    Raises NotFound when nothing is called so, InvalidInput, Unavailable.
    """
    now = _window(asked)
    subject, name, version = _subject(reader, cut, asked.what)
    if asked.by is not None and subject == COMPONENT:
        raise InvalidInput(
            f"{asked.what:.100} is a component: of its runs only profiles are kept, no subgroups; "
            "name a model instead"
        )
    span, citation = _baseline_span(asked.baseline, now, now_us), cite(reader, cut)
    key = None
    if subject == MODEL and span is not None and sampling is not None:
        key = held_key(reader, citation, (asked, span, sampling.most))
    held = None if key is None else REPORTS.get(key)
    if held is not None:
        return held._replace(citation=citation)
    if subject == MODEL:
        drawing = sampling, seed_of(citation)
        seen = _seen_of_model(reader, blobs, cut, asked, (name, version), now, span, drawing)
    else:
        seen = _seen_of_component(reader, blobs, cut, asked, name, now, span)
    columns = _columns(asked, subject, seen)
    groups = compare_groups(seen.then, seen.now, asked.threshold) if asked.by is not None else []
    skew = None
    if subject == MODEL and seen.trained is not None and seen.trained.is_training:
        skew = compare_skew(seen.trained, seen.now)
    if subject == MODEL and not seen.now.rows and not seen.then.rows:
        _check_known(reader, cut, name)
    report = DriftReport(
        what=asked.what,
        subject=subject,
        baseline=seen.baseline,
        then=seen.span,
        now=now,
        then_rows=seen.then.rows,
        now_rows=seen.now.rows,
        columns=tuple(columns),
        by=asked.by,
        groups=tuple(groups),
        skew=skew,
        remarks=(*seen.remarks, *_remarks(asked, subject, seen, columns)),
        citation=citation,
        sampled=any(one.sampled is not None for one in (seen.then, seen.now)),
    )
    # What was left out may be there later: blobs are no part of the log.
    if key is not None and not seen.then.left_out and not seen.now.left_out:
        REPORTS.keep(key, report)
    return report


def _window(asked: Asked) -> Span:
    if asked.side not in SIDES:
        raise InvalidInput(f"side is inputs, outputs or both, not {asked.side!r:.40}")
    if asked.threshold is not None and not (
        math.isfinite(asked.threshold) and 0 <= asked.threshold <= 1
    ):
        raise InvalidInput("a threshold of distances is a number from 0 to 1")
    since_us = asked.since_us
    if since_us is None:
        since_us = max(MIN_TIME_US, asked.until_us - DEFAULT_WINDOW_US)
    if since_us >= asked.until_us:
        raise InvalidInput(
            f"since {format_time(since_us)} is not before until {format_time(asked.until_us)}"
        )
    return Span(since_us, asked.until_us)


def _baseline_span(baseline: str | None, now: Span, now_us: int) -> Span | None:
    """The baseline's window; None when it is a REF."""
    if baseline is None:
        before_us = now.since_us - (now.until_us - now.since_us)
        return Span(max(MIN_TIME_US, before_us), now.since_us)
    if "/" in baseline:
        return None
    if "@" in baseline:
        raise InvalidInput(f"a baseline {baseline!r:.100}: write model/ or dataset/ before it")
    start, dots, end = baseline.partition("..")
    since_us = parse_time(start, now_us)
    until_us = parse_time(end, now_us) if dots and end else now.since_us
    if since_us >= until_us:
        raise InvalidInput(
            f"the baseline begins at {format_time(since_us)}, not before its end "
            f"{format_time(until_us)}"
        )
    return Span(since_us, until_us)


def _subject(reader: Reader, cut: Cut, what: str) -> tuple[str, str, str | None]:
    """(model or component, name, version): a model where one is called so, else a component.

    What is neither is taken for a model that was registered elsewhere: it may have predictions.
    """
    key = what.removeprefix(f"{MODEL_ENTITY}/")
    name, at, version = key.rpartition("@")
    if at and name and version:
        return MODEL, name, version
    if not key or at:
        raise InvalidInput(f"{what!r:.100} names nothing; give a model or component")
    if key == what and not _is_model(reader, cut, key) and runs_of(reader, cut, key):
        return COMPONENT, key, None
    return MODEL, key, None


def _check_known(reader: Reader, cut: Cut, name: str) -> None:
    """Raises NotFound for a model that neither was registered here nor has predictions here."""
    if not _is_model(reader, cut, name):
        raise NotFound(
            f"no model and no component is called {name!r:.100} in {reader.address}, and no "
            "prediction in these windows is of such a model"
        )


def _is_model(reader: Reader, cut: Cut, name: str) -> bool:
    """Whether a version of a model with this name was registered below the cut."""
    prefix = f"{name}@"
    keys = {
        key
        for log, size in cut.sizes.items()
        for key in reader.entity_keys(log, MODEL_ENTITY, size)
        if key.startswith(prefix)
    }
    types = frozenset((MODEL_VERSION,))
    return any(
        text(one.data, "name") == name
        for key in sorted(keys)
        for one in records_of(reader, cut, MODEL_ENTITY, types, key)
    )


def _seen_of_model(
    reader: Reader,
    blobs: BlobStore,
    cut: Cut,
    asked: Asked,
    model: tuple[str, str | None],
    now: Span,
    span: Span | None,
    drawing: tuple[Sampling | None, int],
) -> _Seen:
    side, by = asked.side, asked.by
    if span is not None:
        spans = [span, now]
        then, later = observe_predictions(reader, blobs, cut, *model, spans, side, by, *drawing)
        return _Seen(then, later, span, _shown(asked.baseline), None, ())
    assert asked.baseline is not None
    trained = observe_baseline(reader, blobs, cut, asked.baseline, INPUTS)
    (later,) = observe_predictions(reader, blobs, cut, *model, [now], side, by, *drawing)
    remarks = []
    if side != INPUTS:
        remarks.append("outputs are not compared: what a model was trained on holds no outputs")
    return _Seen(trained.observed, later, None, asked.baseline, trained, tuple(remarks))


def _seen_of_component(
    reader: Reader,
    blobs: BlobStore,
    cut: Cut,
    asked: Asked,
    name: str,
    now: Span,
    span: Span | None,
) -> _Seen:
    spans = [now] if span is None else [span, now]
    seen, counts = observe_runs(reader, blobs, cut, name, spans, asked.side)
    remarks = [f"{counts[-1]} runs now" + (f", {counts[0]} then" if span is not None else "")]
    if span is not None:
        return _Seen(seen[0], seen[1], span, _shown(asked.baseline), None, tuple(remarks))
    assert asked.baseline is not None
    trained = observe_baseline(reader, blobs, cut, asked.baseline, asked.side)
    return _Seen(trained.observed, seen[0], None, asked.baseline, trained, tuple(remarks))


def _shown(baseline: str | None) -> str:
    return "the window before" if baseline is None else baseline


def _columns(asked: Asked, subject: str, seen: _Seen) -> list[ColumnDrift]:
    """Every column of either side compared, inputs first."""
    then, now = seen.then.columns, seen.now.columns
    trained = seen.trained
    if trained is not None and subject == MODEL:
        now = {key: one for key, one in now.items() if key[0] == INPUTS}
    few = min(seen.then.rows, seen.now.rows) < MIN_SIZE or not then.keys() & now.keys()
    found = []
    for side, name in sorted({*then, *now}):
        before, after = then.get((side, name)), now.get((side, name))
        if before is not None and after is not None:
            found.append(compare_column(name, side, before, after, asked.threshold))
            continue
        expected = trained is None or before is None or name in (trained.expects or ())
        column = one_sided(name, side, before, after, expected)
        found.append(column._replace(verdict=CANNOT_TELL) if few else column)
    return found


def _remarks(asked: Asked, subject: str, seen: _Seen, columns: Sequence[ColumnDrift]) -> list[str]:
    """What a reader of the report should be told, a sentence each."""
    remarks = []
    thing = "prediction" if subject == MODEL else "row"
    for when, observed in (("then", seen.then), ("now", seen.now)):
        if observed.rows < MIN_SIZE:
            things = thing if observed.rows == 1 else f"{thing}s"
            remarks.append(f"only {observed.rows} {things} {when}: nothing can be told")
        if observed.sampled is not None:
            read, total = observed.sampled
            remarks.append(
                f"{read:,} of the {total:,} predictions {when}, of all models, were drawn at "
                "random and read; whoever has the log draws the same ones"
            )
        for why, count in sorted(observed.left_out.items()):
            remarks.append(f"left out {when}: {count} {why}")
            if why == NO_PROFILE:
                remarks.append("runs keep profiles of their frames with profile=True")
    if seen.then.rows and seen.now.rows and not _names(seen.then) & _names(seen.now):
        remarks.append("no column is on both sides: nothing is compared")
    sampled = [
        f"{column.name} ({_sizes(column)})"
        for column in columns
        if (column.then is not None and column.then.sampled)
        or (column.now is not None and column.now.sampled)
    ]
    if sampled:
        more = ", ..." if len(sampled) > MAX_NAMES_LISTED else ""
        listed = ", ".join(sampled[:MAX_NAMES_LISTED]) + more
        remarks.append(f"numbers are a random sample with a fixed seed: {listed}")
    if asked.by is not None and not any(asked.by == name for _, name in _names(seen.now)):
        remarks.append(f"no prediction now has the feature {asked.by:.80}")
    if OTHERS in seen.now.groups or OTHERS in seen.then.groups:
        remarks.append(f"more than {MAX_GROUPS} subgroups: those beyond are {OTHERS}")
    return remarks


def _names(observed: Observed) -> set[tuple[str, str]]:
    return set(observed.columns)


def _sizes(column: ColumnDrift) -> str:
    sides = (("then", column.then), ("now", column.now))
    return ", ".join(
        f"{len(one.values)} of {one.numbers} {when}"
        for when, one in sides
        if one is not None and one.sampled
    )
