"""Inputs and outputs of a model or component, now against then, with their distributions drawn."""

from audit.lineage.drifting.drift_columns import ColumnDrift
from audit.web.answer import Answer, Asked, Parameter, Screen
from audit.web.drawn.bars import drawing

SIDES = ("inputs", "outputs", "both")
DEFAULT_SAMPLE = 150
"""Predictions of each window that a page reads, drawn at random, where there are more."""
MAX_SAMPLE = 100_000
MORE = 10
"""So many times as many are read at the address that a page offers for more."""


def _answer(asked: Asked) -> Answer:
    what = asked.needed("what")
    sample = asked.number("sample", DEFAULT_SAMPLE, MAX_SAMPLE)
    report = asked.ledger.drift(
        what,
        since=asked.text("since"),
        until=asked.text("until"),
        baseline=asked.text("baseline"),
        side=asked.text("side") or "both",
        by=asked.text("by"),
        as_of=asked.cut,
        sample=sample,
    )
    larger = asked.here(sample=str(min(MAX_SAMPLE, sample * MORE))) if report.sampled else None
    view = {
        "report": report,
        "columns": [
            (one, _reasons(one), drawing(one.name, one.then, one.now)) for one in report.columns
        ],
        "sides": SIDES,
        "larger": larger,
    }
    words = ["audit", "drift", what]
    for option in ("since", "until", "baseline", "side", "by"):
        if asked.text(option):
            words += [f"--{option}", asked.parameters[option]]
    return Answer(
        f"Drift of {what}", {**report.to_json(), "larger_sample": larger}, view, tuple(words)
    )


def _reasons(column: ColumnDrift) -> list[str]:
    """Why, with the names of statistics as words."""
    found = list(column.reasons)
    for one in column.statistics:
        words = one.statistic.replace("_", " ").lower()
        found = [reason.replace(one.statistic, words) for reason in found]
    return found


DRIFT = Screen(
    path="/drift",
    template="drift.html",
    about="How inputs and outputs of a model or component are distributed, now against then.",
    answer=_answer,
    parameters=(
        Parameter("what", "A component or model: churn, churn@3.", True, example="churn@3"),
        Parameter("since", "Begin of the window; 30 days before unless told.", example="-7d"),
        Parameter("until", "Its end.", example="2026-01-31"),
        Parameter("baseline", "run/ID, model/NAME@V, dataset/NAME@V, a time or A..B."),
        Parameter("side", "inputs, outputs or both.", choices=SIDES),
        Parameter("by", "A feature: outputs by each of its values.", example="region"),
        Parameter(
            "sample",
            f"Predictions of each window that are read, drawn at random; {DEFAULT_SAMPLE} unless "
            "told.",
            least=1,
            most=MAX_SAMPLE,
        ),
    ),
)
