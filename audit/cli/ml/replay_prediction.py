"""Showing a prediction that was run again: each answer for itself."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from audit.cli.output import write_block, write_json
from audit.cli.session import Session
from audit.errors import InvalidInput
from audit.event.valuejson import from_json, parse_json
from audit.event.values import dumps

if TYPE_CHECKING:
    from audit.lineage.again.verdict import PredictionReplay

LABEL_COLUMNS = 13


class Question(NamedTuple):
    """Which prediction to run again, and what to change about it on purpose."""

    ref: str
    as_of: str | None
    policy: str | None
    tolerance: float | None
    against: str | None
    changes: tuple[str, ...]
    as_json: bool
    run_unverified: bool = False
    record: bool = False


def show_prediction(session: Session, store: str, question: Question) -> None:
    """Run a recorded prediction again and show the answers; findings make the exit code 1."""
    from audit.cli.ml.recording import record_verdicts
    from audit.lineage.again.verdict_record import prediction_verdict

    kind, _, prediction_id = question.ref.partition("/")
    if kind != "prediction":
        what = "a dataset, row, prediction or run can"
        raise InvalidInput(f"{question.ref} cannot be replayed; {what}")
    ledger = session.ledger(store)
    cut = ledger.cut(question.as_of)
    answer = ledger.replay_prediction(
        prediction_id,
        cut,
        policy=ledger.policy_file(question.policy),
        tolerance=question.tolerance,
        against=question.against,
        set_features=_features(question.changes),
        run_unverified=question.run_unverified,
    )
    session.exit_code = answer.exit_code
    if question.as_json:
        write_json(answer.to_json())
    else:
        write_block(_pairs(answer), LABEL_COLUMNS)
    if question.record and answer.what_if is None:
        record_verdicts(ledger, cut, lambda points: [prediction_verdict(answer, points)])


def _features(changes: tuple[str, ...]) -> dict[str, Any] | None:
    """name -> value of each --set; a value is JSON, or else a string."""
    features = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--set takes FEATURE=VALUE, not {change!r:.80}")
        try:
            features[name] = from_json(parse_json(text))
        except InvalidInput:
            features[name] = text
    return features or None


def _pairs(answer: "PredictionReplay") -> Iterator[tuple[str, str]]:
    recorded = answer.prediction
    yield "prediction", answer.prediction_id
    if recorded is not None and recorded.problem is None:
        version = recorded.model_version
        yield "model", recorded.model_name + (f"@{version}" if version else "")
        yield "features", dumps(dict(recorded.features))
        if recorded.error is not None:
            yield "recorded", f"ERROR: {recorded.error}"
        else:
            yield "recorded", dumps(recorded.output)
    if answer.replayed is not None:
        yield "replayed", dumps(answer.replayed.value)
    elif answer.raised is not None:
        yield "replayed", f"ERROR: {answer.raised}"
    if answer.what_if is not None:
        yield "what if", dumps(dict(answer.what_if))
    yield "", ""
    yield "INTEGRITY", answer.integrity
    yield "MODEL", answer.model
    yield "CODE", answer.code
    yield "ENVIRONMENT", answer.environment
    yield "FEATURES", answer.features
    yield "OUTPUT", answer.output
    if answer.rows is not None:
        yield "rows", ", ".join(f"{name} {count:,}" for name, count in answer.rows.items())
    if answer.tolerance is not None:
        yield "tolerance", f"{answer.tolerance:g}"
    if answer.reasons:
        yield "reasons", ", ".join(answer.reasons)
    for message in answer.messages:
        yield "", message
    for difference in answer.environment_differences:
        yield "", difference
