"""`audit drift`: inputs and outputs of a model or component, now against then."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from audit.cli.options import as_of_option, json_option, session_argument, store_option
from audit.cli.outcome import FINDINGS
from audit.cli.output import write, write_block, write_json, write_table
from audit.cli.session import Session, note

if TYPE_CHECKING:
    from audit.lineage.drifting.drift_columns import ColumnDrift
    from audit.lineage.drifting.drift_report import DriftReport, GroupDrift
    from audit.lineage.drifting.observed import Answers
    from audit.lineage.drifting.skew import SkewReport

SIDES = ("inputs", "outputs", "both")
STEADY = "STEADY"
DISTANCES = ("JENSEN_SHANNON", "L_INFINITY")
TESTS = ("KOLMOGOROV_SMIRNOV", "CHI_SQUARE")
COLUMNS = ("COLUMN", "SIDE", "KIND", "THEN", "NOW", "MISSING", "DISTANCE", "P-VALUE", "VERDICT")
GROUPS = ("SUBGROUP", "THEN", "NOW", "OUTPUT THEN", "OUTPUT NOW", "OVER THEN", "OVER NOW")
CLASSES_SHOWN = 3
SHORT = {
    "JENSEN_SHANNON": "JS",
    "L_INFINITY": "L-inf",
    "KOLMOGOROV_SMIRNOV": "KS",
    "CHI_SQUARE": "chi2",
}


@click.command()
@click.argument("what", metavar="COMPONENT|MODEL")
@click.option("--since", metavar="T", help="Begin of the window now. Default: 30 days before.")
@click.option("--until", metavar="T", help="End of the window now. Default: now, or --as-of.")
@click.option(
    "--baseline",
    metavar="REF|T|A..B",
    help="Compare with run/ID, model/NAME@VERSION or dataset/NAME@VERSION, or another window. "
    "Default: the window before, of the same length.",
)
@click.option("--side", type=click.Choice(SIDES), default="both", show_default=True)
@click.option("--by", metavar="FEATURE", help="Outputs by subgroup: one for each of its values.")
@click.option(
    "--threshold",
    type=float,
    metavar="X",
    help="Of the distances (L-infinity, Jensen-Shannon, Kolmogorov-Smirnov), 0 to 1. Default: 0.1.",
)
@as_of_option
@store_option
@json_option
@session_argument
def drift(
    session: Session,
    what: str,
    since: str | None,
    until: str | None,
    baseline: str | None,
    side: str,
    by: str | None,
    threshold: float | None,
    as_of: str | None,
    store: str,
    as_json: bool,
) -> None:
    """How inputs and outputs are distributed now against then; exit code 1 when they drifted.

    Of a model (NAME or NAME@VERSION) the logged predictions count, by their own time; of a
    component the profiles of what its runs read and made. Against a model or run as baseline it
    ends with how serving differs from training: types, features and their code.

    \b
    audit drift churn --since -30d
    audit drift churn --since -90d --side outputs --by country
    audit drift churn@3 --baseline model/churn@3
    """
    report = session.ledger(store).drift(
        what,
        since=since,
        until=until,
        baseline=baseline,
        side=side,
        by=by,
        threshold=threshold,
        as_of=as_of,
    )
    if report.verdict != STEADY:
        session.exit_code = FINDINGS
    if as_json:
        write_json(report.to_json())
    else:
        _show(report)


def _show(report: "DriftReport") -> None:
    from audit.event.times import format_time

    def span(since_us: int, until_us: int, rows: int) -> str:
        return f"{format_time(since_us)} to {format_time(until_us)}, {rows:,} rows"

    then = report.then
    shown = f"{report.baseline}, {report.then_rows:,} rows"
    if then is not None:
        shown = f"{span(then.since_us, then.until_us, report.then_rows)} ({report.baseline})"
    write_block(
        [
            (report.subject, report.what),
            ("then", shown),
            ("now", span(report.now.since_us, report.now.until_us, report.now_rows)),
            *(("log", _cited(log)) for log in report.citation.to_dict()["logs"]),
            ("VERDICT", report.verdict),
        ]
    )
    if report.columns:
        write("\n")
        write_table(COLUMNS, map(_column, report.columns), right=(3, 4))
        _reasons(report)
    if report.groups:
        write(f"\nOUTPUTS BY {report.by}\n")
        write_table(GROUPS, (row for group in report.groups for row in _group(group)), right=(1, 2))
    if report.skew is not None:
        _skew(report.skew)
    for remark in report.remarks:
        note(remark)


def _cited(log: dict[str, object]) -> str:
    root = log["root_hash"]
    return f"{log['origin']}, size {log['size']}, root {root if root else 'not in this bundle'}"


def _column(column: "ColumnDrift") -> tuple[str, ...]:
    found = {one.statistic: one for one in column.statistics}
    distance = next((found[name] for name in DISTANCES if name in found), None)
    test = next((found[name] for name in TESTS if name in found), None)
    return (
        column.name,
        column.side,
        column.kind,
        _rows(column.then),
        _rows(column.now),
        f"{_missing(column.then)} -> {_missing(column.now)}",
        "" if distance is None else f"{SHORT[distance.statistic]} {_number(distance.value)}",
        "" if test is None else f"{SHORT[test.statistic]} {_number(test.p_value)}",
        column.verdict if column.status == "COMPARED" else f"{column.verdict} ({column.status})",
    )


def _reasons(report: "DriftReport") -> None:
    told = [column for column in report.columns if column.reasons and column.verdict != STEADY]
    if told:
        write("\n")
    write_block(
        ((column.verdict, f"{column.name}: {'; '.join(column.reasons)}") for column in told), 13
    )


def _rows(found: object) -> str:
    return "-" if found is None else f"{getattr(found, 'present', 0):,}"


def _missing(found: object) -> str:
    rows = getattr(found, "rows", 0)
    return f"{getattr(found, 'missing', 0) / rows:.1%}" if rows else "-"


def _number(number: float | None) -> str:
    return "?" if number is None else f"{number:.3g}"


def _group(group: "GroupDrift") -> Iterator[tuple[str, ...]]:
    label = group.group + (" DRIFTED" if group.verdict == "DRIFTED" else "")
    sides = (group.then, group.now)
    yield (
        label,
        *("-" if side is None else f"{side.size:,}" for side in sides),
        *(_output(side) for side in sides),
        *(_over(side) for side in sides),
    )


def _output(answers: "Answers | None") -> str:
    """The mean of the first output that is a number, or the shares of its largest classes."""
    if answers is None or not answers.outputs:
        return "-"
    from audit.lineage.drifting.observed import first_number

    numbers = first_number(answers)
    if numbers is not None:
        return f"mean {_number(numbers.mean)}"
    output = next(iter(answers.outputs.values()))
    total = sum(output.categories.values()) + output.others
    most = sorted(output.categories.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count / total:.0%}" for name, count in most[:CLASSES_SHOWN]) or "-"


def _over(answers: "Answers | None") -> str:
    rate = None if answers is None else answers.decision_rate
    return "-" if rate is None else f"{rate:.1%}"


def _skew(skew: "SkewReport") -> None:
    verdict = "types and code as in training" if skew.compared else "nothing to compare"
    if skew.skewed:
        verdict = "types, features or code DIFFER from training"
    write(f"\nSKEW         {skew.model}: {verdict}\n")

    def pairs() -> Iterator[tuple[str, str]]:
        for one in skew.schema:
            sides = (", ".join(types) or "not there" for types in (one.trained, one.served))
            trained, served = sides
            may = "" if one.finding else " (may be the label or a key)"
            yield "schema", f"{one.feature}: {trained} in training, {served} in serving{may}"
        for code in skew.code:
            trained, served = (
                ", ".join(f"{one} {(one.digest or 'no digest')[:19]}" for one in named) or "none"
                for named in (code.trained, code.served)
            )
            yield "code", f"{code.definition} {code.difference}: {trained} -> {served}"
        if skew.feature_skew:
            yield "features", f"distributed otherwise: {', '.join(skew.feature_skew)}"
        for remark in skew.remarks:
            yield "", remark

    write_block(pairs(), 13)
