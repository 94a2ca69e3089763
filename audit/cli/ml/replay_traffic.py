"""`audit predictions --replay`: what a query finds, run again; counts, and the worst ones."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from audit.cli.options import policy_option
from audit.cli.output import write, write_block, write_json, write_table
from audit.cli.session import Session
from audit.event.values import dumps

if TYPE_CHECKING:
    from audit.ledger import Ledger
    from audit.lineage.again.traffic import ReplayedTraffic
    from audit.lineage.again.verdict import PredictionReplay

LABEL_COLUMNS = 20
F = TypeVar("F", bound=Callable[..., Any])
MAX_RECORDED = 10_000
"""How many verdicts one command records."""
COLUMNS = ("PREDICTION", "OUTPUT", "RECORDED", "REPLAYED", "DIFFERENCE", "REASONS")


class Traffic(NamedTuple):
    """Which predictions to run again, and how."""

    query: str
    as_of: str | None
    policy: str | None
    tolerance: float | None
    against: str | None
    run_unverified: bool
    record: bool
    as_json: bool
    role: str | None = None
    status: str | None = None


def traffic_options(command: F) -> F:
    """The options of a command that can run what it finds again: `traffic_of` reads them."""
    options = (
        click.option("--replay", is_flag=True, help="Run them all again and count the verdicts."),
        click.option("--against", metavar="MODEL@V", help="With --replay: run this model instead."),
        click.option("--tolerance", type=float, help="With --replay: so close counts as equal."),
        click.option(
            "--run-unverified",
            is_flag=True,
            help="With --replay: run what is UNVERIFIED too. Runs code that nobody vouches for!",
        ),
        click.option("--no-record", is_flag=True, help="With --replay: do not log the verdicts."),
        policy_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def traffic_of(given: dict[str, Any], **others: Any) -> Traffic | None:
    """What the options ask for; None without --replay."""
    if not given["replay"]:
        for name in ("against", "tolerance", "run_unverified", "no_record", "policy"):
            if given[name] not in (None, False):
                raise click.UsageError(f"--{name.replace('_', '-')} goes with --replay")
        return None
    return Traffic(
        policy=given["policy"],
        tolerance=given["tolerance"],
        against=given["against"],
        run_unverified=given["run_unverified"],
        record=not given["no_record"],
        **others,
    )


def show_traffic(session: Session, store: str, asked: Traffic) -> None:
    """Run them again and show the counts; findings make the exit code 1."""
    from audit.cli.progress import Progress

    ledger = session.ledger(store)
    cut = ledger.cut(asked.as_of)
    answers: list[PredictionReplay] = []

    def observe(answer: "PredictionReplay") -> None:
        if asked.against is None and asked.record and len(answers) < MAX_RECORDED:
            answers.append(answer)

    with Progress("replaying", "predictions") as progress:
        found = ledger.replay_predictions(
            asked.query,
            cut,
            policy=ledger.policy_file(asked.policy),
            tolerance=asked.tolerance,
            against=asked.against,
            run_unverified=asked.run_unverified,
            progress=progress,
            observe=observe,
            role=asked.role,
            status=asked.status,
        )
    session.exit_code = found.exit_code
    if asked.as_json:
        write_json(found.to_json())
    else:
        write_block(_pairs(found), LABEL_COLUMNS)
        if found.worst:
            write("")
            write_table(COLUMNS, _rows(found))
    if asked.record and found.count:
        _record(ledger, cut, found, answers, asked.query)


def _record(
    ledger: "Ledger",
    cut: Any,
    found: "ReplayedTraffic",
    answers: "list[PredictionReplay]",
    query: str,
) -> None:
    from audit.cli.ml.recording import record_verdicts
    from audit.lineage.again.verdict_record import comparison, prediction_verdict

    if found.against is not None:
        record_verdicts(ledger, cut, lambda points: [comparison(found, points, query)])
    else:
        record_verdicts(
            ledger, cut, lambda points: (prediction_verdict(one, points) for one in answers)
        )


def _pairs(found: "ReplayedTraffic") -> Iterator[tuple[str, str]]:
    yield "predictions", f"{found.count:,}"
    for label, counts in (
        ("INTEGRITY", found.integrity),
        ("ENVIRONMENT", found.environments),
        ("OUTPUT", found.verdicts),
        ("reasons", found.reasons),
    ):
        ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
        if ordered:
            yield label, ", ".join(f"{name} {count:,}" for name, count in ordered)
    differential = found.differential
    if differential is not None:
        yield "against", str(found.against)
        yield "compared", f"{differential.compared:,}"
        yield "answered otherwise", f"{differential.fraction_changed:.2%}"
        yield "changed decisions", f"{differential.changed_decisions:,}"
        if differential.undecided:
            yield "", f"{differential.undecided:,} differ, and no threshold says what that decides"
        yield "largest difference", dumps(differential.max_difference)


def _rows(found: "ReplayedTraffic") -> Iterator[tuple[str, ...]]:
    for answer in found.worst:
        recorded = None if answer.prediction is None else answer.prediction.output
        yield (
            answer.prediction_id,
            answer.output,
            dumps(recorded),
            "" if answer.replayed is None else dumps(answer.replayed.value),
            "" if answer.max_difference is None else f"{answer.max_difference:.6g}",
            ", ".join(answer.reasons),
        )
