"""Inputs and outputs of a model or component, now against then, with their distributions drawn."""

from audit.web.answer import Answer, Asked, Parameter, Screen
from audit.web.drawn.bars import drawing

SIDES = ("inputs", "outputs", "both")


def _answer(asked: Asked) -> Answer:
    what = asked.needed("what")
    report = asked.ledger.drift(
        what,
        since=asked.text("since"),
        until=asked.text("until"),
        baseline=asked.text("baseline"),
        side=asked.text("side") or "both",
        by=asked.text("by"),
        as_of=asked.cut,
    )
    view = {
        "report": report,
        "columns": [(one, drawing(one.name, one.then, one.now)) for one in report.columns],
        "sides": SIDES,
    }
    words = ["audit", "drift", what]
    for option in ("since", "until", "baseline", "side", "by"):
        if asked.text(option):
            words += [f"--{option}", asked.parameters[option]]
    return Answer(f"Drift of {what}", report.to_json(), view, tuple(words))


DRIFT = Screen(
    path="/drift",
    template="drift.html",
    about="How inputs and outputs of a model or component are distributed, now against then.",
    answer=_answer,
    parameters=(
        Parameter("what", "A component or model: churn, churn@3.", required=True),
        Parameter("since", "Begin of the window now; 30 days before unless told."),
        Parameter("until", "Its end."),
        Parameter("baseline", "run/ID, model/NAME@V, dataset/NAME@V, a time or A..B."),
        Parameter("side", "inputs, outputs or both.", choices=SIDES),
        Parameter("by", "A feature: outputs by each of its values."),
    ),
)
