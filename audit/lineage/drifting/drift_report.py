"""What a question about drift is answered with: columns, subgroups, skew, and what it stands on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from audit.event.times import format_time
from audit.lineage.drifting.drift_columns import (
    CANNOT_TELL,
    DRIFTED,
    STEADY,
    ColumnDrift,
    compare_column,
)
from audit.lineage.drifting.observed import ALL, Answers, Observed, Span
from audit.lineage.drifting.skew import SkewReport
from audit.replay.citation import Citation


class GroupDrift(NamedTuple):
    """Answers of a subgroup now against then; None on a side where it is not there.

    `periods`: its answers in equal parts of the window now. `outputs`: each output compared.
    """

    group: str
    then: Answers | None
    now: Answers | None
    periods: tuple[Answers | None, ...]
    outputs: tuple[ColumnDrift, ...]

    @property
    def verdict(self) -> str:
        """Of all its outputs together."""
        return verdict_of([one.verdict for one in self.outputs])

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "group": self.group,
            "verdict": self.verdict,
            "then": None if self.then is None else self.then.to_json(),
            "now": None if self.now is None else self.now.to_json(),
            "periods": [None if one is None else one.to_json() for one in self.periods],
            "outputs": [one.to_json() for one in self.outputs],
        }


class DriftReport(NamedTuple):
    """Inputs and outputs now against then. `subject`: model or component.

    `then`: the window that is compared with; None where `baseline` is a run, model or dataset.
    `then_rows`, `now_rows`: predictions, or rows of the frames of `runs` runs. `sampled`: not all
    predictions of the windows were read, which a remark says too.
    """

    what: str
    subject: str
    baseline: str
    then: Span | None
    now: Span
    then_rows: int
    now_rows: int
    columns: tuple[ColumnDrift, ...]
    by: str | None
    groups: tuple[GroupDrift, ...]
    skew: SkewReport | None
    remarks: tuple[str, ...]
    citation: Citation
    sampled: bool = False

    @property
    def verdict(self) -> str:
        """DRIFTED when anything has, also in a subgroup or between training and serving."""
        verdicts = [column.verdict for column in self.columns]
        verdicts += [group.verdict for group in self.groups if group.verdict == DRIFTED]
        if self.skew is not None and self.skew.skewed:
            verdicts.append(DRIFTED)
        return verdict_of(verdicts)

    @property
    def drifted(self) -> bool:
        """Whether anything has drifted."""
        return self.verdict == DRIFTED

    def column(self, name: str, side: str | None = None) -> ColumnDrift | None:
        """A column by its name, and by its side where both have it."""
        fits = (c for c in self.columns if c.name == name and side in (None, c.side))
        return next(fits, None)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "what": self.what,
            "subject": self.subject,
            "verdict": self.verdict,
            "baseline": self.baseline,
            "then": {
                "since": None if self.then is None else format_time(self.then.since_us),
                "until": None if self.then is None else format_time(self.then.until_us),
                "rows": self.then_rows,
            },
            "now": {**self.now.to_json(), "rows": self.now_rows},
            "columns": [column.to_json() for column in self.columns],
            "by": self.by,
            "groups": [group.to_json() for group in self.groups],
            "skew": None if self.skew is None else self.skew.to_json(),
            "remarks": list(self.remarks),
            "citation": self.citation.to_dict(),
        }


def verdict_of(verdicts: Sequence[str]) -> str:
    """Of several: drifted when one is, steady when one is, else nobody can tell."""
    if DRIFTED in verdicts:
        return DRIFTED
    return STEADY if STEADY in verdicts else CANNOT_TELL


def compare_groups(then: Observed, now: Observed, threshold: float | None) -> list[GroupDrift]:
    """Each subgroup of either window by name, and first everything, to compare them with."""
    return [
        _group(
            label,
            then.groups.get(label),
            now.groups.get(label),
            tuple(part.get(label) for part in now.periods),
            threshold,
        )
        for label in sorted({*then.groups, *now.groups}, key=lambda name: (name != ALL, name))
    ]


def _group(
    label: str,
    then: Answers | None,
    now: Answers | None,
    periods: tuple[Answers | None, ...],
    threshold: float | None,
) -> GroupDrift:
    compared = []
    if then is not None and now is not None:
        for name in sorted(then.outputs.keys() & now.outputs.keys()):
            pair = then.outputs[name], now.outputs[name]
            compared.append(compare_column(name, "outputs", *pair, threshold))
    return GroupDrift(label, then, now, periods, tuple(compared))
