"""Showing a run that was run again: each answer for itself."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.cli.output import write_block, write_json
from audit.cli.session import Session
from audit.event.values import dumps

if TYPE_CHECKING:
    from audit.cli.ml.replay_prediction import Question
    from audit.lineage.again.run_replay import Pair, RunReplay

LABEL_COLUMNS = 13


def show_run(session: Session, store: str, question: "Question") -> None:
    """Run a recorded run again and show the answers; findings make the exit code 1."""
    from audit.cli.ml.recording import record_verdicts
    from audit.lineage.again.verdict_record import run_verdict

    ledger = session.ledger(store)
    cut = ledger.cut(question.as_of)
    answer = ledger.replay_run(
        question.ref.partition("/")[2],
        cut,
        policy=ledger.policy_file(question.policy),
        run_unverified=question.run_unverified,
    )
    session.exit_code = answer.exit_code
    if question.as_json:
        write_json(answer.to_json())
    else:
        write_block(_pairs(answer), LABEL_COLUMNS)
    if question.record:
        record_verdicts(ledger, cut, lambda points: [run_verdict(answer, points)])


def _pairs(answer: "RunReplay") -> Iterator[tuple[str, str]]:
    yield "run", answer.run_id
    if answer.run is not None:
        yield "of", answer.run.name
    for kind, found in (("model", answer.models), ("output", answer.outputs)):
        for one in found:
            yield kind, _shown(one)
    for one in answer.metrics:
        yield "metric", _shown(one)
    yield "", ""
    yield "INTEGRITY", answer.integrity
    yield "CODE", answer.code
    yield "INPUTS", answer.inputs
    yield "ENVIRONMENT", answer.environment
    yield "OUTPUT", answer.output
    if answer.reasons:
        yield "reasons", ", ".join(answer.reasons)
    for message in (*answer.messages, *answer.environment_differences):
        yield "", message


def _shown(one: "Pair") -> str:
    if one.recorded == one.replayed:
        return f"{one.name}  {_short(one.recorded)}"
    return f"{one.name}  {_short(one.recorded)} -> {_short(one.replayed)}"


def _short(value: str | float | None) -> str:
    """A value; of a digest what tells it from others."""
    if value is None:
        return "(none)"
    if isinstance(value, str):
        head, _, digits = value.rpartition(":")
        return f"{head}:{digits[:12]}" if head else value
    return dumps(value)
