"""Drift of inputs and outputs, on a pipeline that drifts from its eighth week."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import audit
from audit.errors import InvalidInput, NotFound
from audit.lineage.content import distributions
from audit.lineage.content.distributions import (
    Column,
    Distribution,
    Profiled,
    category_text,
    comparable,
)
from audit.lineage.content.statistics import Statistic
from audit.lineage.drifting import observed
from audit.lineage.drifting.drift_columns import compare_column, judge, type_change
from audit.store.blobs import BlobStore
from tests.lineage.common_drift import (
    A_WEEK,
    COMPONENT,
    COUNTRIES,
    END,
    START,
    Pipeline,
    day,
    predict,
    record_component,
    reference,
    run_fields,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=31)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline(tmp_path_factory.mktemp("pipeline"))


class Small:
    """A ledger to put some predictions and runs into: a month then, and a month now."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'audit.db'}"
        self.blobs = BlobStore(folder / "audit-blobs")
        self.emit = audit.Emitter(self.url, source="test")

    def say(self, then: list[Any], now: list[Any], **more: Any) -> None:
        """Predictions with a feature x then and now; a dict is all of the features."""
        for when, values in ((NOON, then), (LATER, now)):
            for value in values:
                given = value if isinstance(value, dict) else {"x": value}
                predict(self.emit, given, 0.5, when, **more)

    def drift(self, what: str = "churn", **asked: Any) -> Any:
        self.emit.flush()
        asked = {"since": "2026-03-15", "until": "2026-04-15", **asked}
        with audit.Ledger(self.url) as ledger:
            return ledger.drift(what, **asked)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    made = Small(tmp_path)
    try:
        yield made
    finally:
        made.emit.close()


def verdicts(report: Any) -> dict[str, str]:
    return {column.name: column.verdict for column in report.columns}


# Windows of predictions


def test_inputs_and_outputs_drift_from_week_8(pipeline: Pipeline) -> None:
    report = pipeline.drift(since=day(8))
    assert (report.subject, report.verdict, report.drifted) == ("model", "DRIFTED", True)
    assert report.now_rows == report.then_rows == 4 * A_WEEK
    assert verdicts(report) == {
        **{"country": "DRIFTED", "hours": "DRIFTED", "income": "DRIFTED", "output": "DRIFTED"},
        **{"steady": "STEADY", "tickets": "STEADY"},
    }
    assert report.column("income").reasons[0].startswith("MISSING_RATE")
    assert report.column("output").side == "outputs"


def test_before_week_8_nothing_drifts(pipeline: Pipeline) -> None:
    report = pipeline.drift(since=day(4), until=day(8))
    assert report.verdict == "STEADY" and set(verdicts(report).values()) == {"STEADY"}


def test_windows_are_by_the_predictions_own_time_and_half_open(pipeline: Pipeline) -> None:
    report = pipeline.drift(since=day(1), until=day(2))
    assert (report.then_rows, report.now_rows) == (A_WEEK, A_WEEK)
    assert report.to_json()["now"] == {
        **{"since": "2026-01-12T00:00:00.000000Z", "until": "2026-01-19T00:00:00.000000Z"},
        "rows": A_WEEK,
    }
    assert (report.then.since_us, report.then.until_us) == (
        report.now.since_us - 7 * 86_400_000_000,
        report.now.since_us,
    )


def test_the_statistics_fit_the_kind(pipeline: Pipeline) -> None:
    report = pipeline.drift(since=day(8))
    names = [one.statistic for one in report.column("country").statistics]
    assert names == ["L_INFINITY", "CHI_SQUARE", "MISSING_RATE", "CHI_SQUARE_MISSING"]
    assert [one.statistic for one in report.column("hours").statistics] == [
        *("JENSEN_SHANNON", "KOLMOGOROV_SMIRNOV", "RANGE", "MEAN_WITHIN_SE"),
        *("KRUSKAL_WALLIS", "ANOVA", "CHI_SQUARE_ZERO", "MISSING_RATE", "CHI_SQUARE_MISSING"),
    ]


def test_the_report_cites_what_it_stands_on(pipeline: Pipeline) -> None:
    report = pipeline.drift(since=day(8))
    with pipeline.ledger() as ledger:
        (log,) = report.citation.logs
        assert log.size == ledger.reader.size(0) and len(log.root_hash) == 32
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["citation"]["logs"][0]["root_hash"] == log.root_hash.hex()
    assert document["verdict"] == "DRIFTED"


def test_as_of_reads_no_further(pipeline: Pipeline) -> None:
    with pipeline.ledger() as ledger:
        size = ledger.reader.size(0)
    report = pipeline.drift(since=day(8), as_of=str(size - 3 * A_WEEK))
    assert report.now_rows < 2 * A_WEEK and report.citation.logs[0].size == size - 3 * A_WEEK + 1


@pytest.mark.parametrize(
    ("baseline", "then_rows"),
    [
        (day(0), 8 * A_WEEK),
        (f"{day(2)}..{day(4)}", 2 * A_WEEK),
        (f"{day(6)}..", 2 * A_WEEK),
    ],
)
def test_a_baseline_may_be_a_time_or_a_span(
    pipeline: Pipeline, baseline: str, then_rows: int
) -> None:
    report = pipeline.drift(since=day(8), baseline=baseline)
    assert report.then_rows == then_rows and report.baseline == baseline
    assert report.verdict == "DRIFTED" and report.skew is None


def test_sides_can_be_chosen(pipeline: Pipeline) -> None:
    assert set(verdicts(pipeline.drift(since=day(8), side="outputs"))) == {"output"}
    assert "output" not in verdicts(pipeline.drift(since=day(8), side="inputs"))


def test_a_threshold_can_be_chosen(pipeline: Pipeline) -> None:
    report = pipeline.drift(since=day(8), threshold=0.99, side="outputs")
    assert report.column("output").statistic("JENSEN_SHANNON").exceeded is False
    assert report.column("output").reasons == ("RANGE 0.24 > 0.05",)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"since": day(13)}, "not before until"),
        ({"side": "left"}, "side is"),
        ({"threshold": 2.0}, "0 to 1"),
        ({"threshold": float("nan")}, "0 to 1"),
        ({"baseline": "churn@1"}, "write model/"),
        ({"baseline": "nonsense"}, "is no time"),
        ({"baseline": f"{day(4)}..{day(2)}"}, "not before its end"),
        ({"baseline": "user/5"}, "is no baseline"),
        ({"baseline": "run/none"}, "no run"),
        ({"baseline": "model/churn@9"}, "no model/churn@9"),
        ({"baseline": "dataset/churn@9"}, "no dataset/churn@9"),
        ({"baseline": "model/churn"}, "names no version"),
        ({"what": "nobody"}, "no model and no component"),
        ({"what": "churn@"}, "names nothing"),
        ({"what": "model/"}, "names nothing"),
        ({"what": COMPONENT, "by": "country"}, "no subgroups"),
    ],
)
def test_what_is_asked_wrongly_is_told(
    pipeline: Pipeline, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        pipeline.drift(**{"since": day(8), **asked})


def test_the_window_now_is_thirty_days_by_default(pipeline: Pipeline) -> None:
    report = pipeline.drift()
    assert report.now.until_us - report.now.since_us == 30 * 86_400_000_000


# What counts


def test_replays_and_shadows_are_no_answers(small: Small) -> None:
    small.say([1.0] * 9, [1.0] * 9)
    for role in ("REPLAY", "SHADOW", "CHALLENGER"):
        small.say([], [100.0] * 9, role=role)
    small.say([], [1.0], role="CANARY")
    report = small.drift()
    assert report.now_rows == 10 and report.verdict == "STEADY"
    assert "left out now: 9 predictions of role SHADOW" in report.remarks


def test_other_models_and_versions_do_not_count(small: Small) -> None:
    small.say([1.0] * 9, [1.0] * 9)
    small.say([], [5.0] * 9, version="2")
    small.say([], [5.0] * 9, model="other")
    assert small.drift().now_rows == 18
    assert small.drift("churn@1").now_rows == small.drift("model/churn@1").now_rows == 9


def test_what_was_superseded_does_not_count(small: Small) -> None:
    small.say([1.0] * 9, [1.0] * 9)
    wrong = predict(small.emit, {"x": 1e9}, 0.5, LATER)
    predict(small.emit, {"x": 1.0}, 0.5, LATER, supersedes=wrong)
    report = small.drift(side="inputs")
    assert report.now_rows == 10 and report.column("x").now.maximum == 1.0


def test_failed_predictions_count_as_inputs_only(small: Small) -> None:
    small.say([1.0] * 9, [1.0] * 9)
    for _ in range(9):
        predict(small.emit, {"x": 1.0}, None, LATER, status="ERROR", error="ValueError: no")
    report = small.drift()
    assert report.column("x").now.rows == 18 and report.column("output").now.rows == 9


def test_a_feature_that_is_absent_null_or_nan_is_missing(small: Small) -> None:
    small.say([1.0] * 40, [*[1.0] * 25, *[None] * 5, *[float("nan")] * 5, *[{"y": 1}] * 5])
    column = small.drift(side="inputs").column("x")
    assert (column.now.missing, column.now.rows) == (15, 40)
    assert column.verdict == "DRIFTED" and column.reasons == ("MISSING_RATE 0.375 > 0.1",)


def test_columns_appear_and_vanish(small: Small) -> None:
    small.say([{"old": 1, "x": 1}] * 9, [{"new": 1, "x": 1}] * 9)
    report = small.drift(side="inputs")
    assert {c.name: c.status for c in report.columns} == {
        **{"new": "APPEARED", "old": "VANISHED", "x": "COMPARED"}
    }
    assert verdicts(report) == {"new": "DRIFTED", "old": "DRIFTED", "x": "STEADY"}


def test_an_integer_is_no_double(small: Small) -> None:
    small.say([3] * 9, [3.0] * 9)
    column = small.drift(side="inputs").column("x")
    assert (column.type_change, column.verdict) == ("integer -> double", "DRIFTED")


def test_a_column_of_another_kind_is_told_by_its_type(small: Small) -> None:
    small.say([3] * 9, ["3"] * 9)
    column = small.drift(side="inputs").column("x")
    assert (column.type_change, column.verdict) == ("integer -> string", "DRIFTED")
    assert column.statistic("JENSEN_SHANNON") is None


def test_every_type_of_value_is_counted(small: Small) -> None:
    values = [True, Decimal("1.5"), b"x", NOON, NOON.date(), [1, 2], {"a": 1}, "x" * 500, 2**63 - 1]
    rows = [{f"c{at}": value for at, value in enumerate(values)}] * 9
    small.say(rows, rows)
    report = small.drift(side="inputs")
    assert set(verdicts(report).values()) == {"STEADY"}
    kinds = [column.kind for column in report.columns]
    assert kinds == [
        *("category", "number", "other", "time", "time", "other", "other", "category", "number")
    ]


def test_too_few_predictions_tell_nothing(small: Small) -> None:
    small.say([1.0] * 3, [{"y": 1.0}] * 40)
    report = small.drift()
    assert report.verdict == "CANNOT_TELL" and not report.drifted
    assert any("only 3 predictions then" in remark for remark in report.remarks)


def test_an_empty_baseline_tells_nothing(small: Small) -> None:
    small.say([], [1.0] * 40)
    assert small.drift().verdict == "CANNOT_TELL"


def test_outputs_of_several_parts_are_columns(small: Small) -> None:
    for when, output in ((NOON, [0.9, 0.1]), (LATER, [0.2, 0.8])):
        for _ in range(9):
            predict(small.emit, {"x": 1}, output, when)
            predict(small.emit, {"x": 1}, {"label": "a" if when is NOON else "b"}, when, "named")
    assert verdicts(small.drift(side="outputs")) == {"output[0]": "DRIFTED", "output[1]": "DRIFTED"}
    column = small.drift("named", side="outputs").column("label")
    assert column.verdict == "DRIFTED" and column.statistic("L_INFINITY").value == 1


def test_a_sample_is_said(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "MAX_VALUES", 20)
    small.say([float(n) for n in range(50)], [float(n) for n in range(30)])
    report = small.drift(side="inputs")
    assert report.remarks == (
        "numbers are a random sample with a fixed seed: x (20 of 50 then, 20 of 30 now)",
    )
    again = small.drift(side="inputs")
    assert again.column("x").to_json() == report.column("x").to_json()
    assert report.column("x").then.maximum == 49.0


def test_columns_beyond_the_limit_are_said(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed, "MAX_COLUMNS", 2)
    small.say([{"a": 1, "b": 1, "c": 1}] * 9, [{"a": 1, "b": 1, "c": 1}] * 9)
    report = small.drift(side="inputs")
    assert len(report.columns) == 2
    assert "left out now: 9 values of columns beyond 2" in report.remarks


# Subgroups


def test_outputs_by_subgroup(pipeline: Pipeline) -> None:
    report = pipeline.drift(since=day(8), by="country")
    assert [group.group for group in report.groups] == ["(all)", *COUNTRIES]
    everything = report.groups[0]
    assert everything.now.size == sum(group.now.size for group in report.groups[1:])
    assert everything.then.decision_rate < 0.6 < everything.now.decision_rate
    assert everything.now.decided == 4 * A_WEEK and len(everything.periods) == 4
    assert sum(part.size for part in everything.periods if part is not None) == 4 * A_WEEK
    assert report.groups[3].verdict == "DRIFTED"
    assert report.groups[3].outputs[0].statistic("JENSEN_SHANNON").exceeded


def test_subgroups_beyond_the_limit_are_one(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed, "MAX_GROUPS", 3)
    small.say(["(all)", "(others)", *"abcdef"], [*"abcdef", None])
    report = small.drift(by="x")
    assert len([g for g in report.groups if g.now is not None]) == 5
    assert any("subgroups: those beyond are (others)" in remark for remark in report.remarks)
    assert report.groups[0].group == "(all)" and report.groups[0].then.size == 8


def test_a_subgroup_that_drifts_alone_is_found(small: Small) -> None:
    rng = np.random.default_rng(1)
    for when in (NOON, LATER):
        for country, size in (("AT", 30), ("DE", 470)):
            for at in range(size):
                shift = 0.3 if (when, country) == (LATER, "AT") else 0.0
                output = float(min(1.0, rng.random() * 0.7 + shift))
                predict(small.emit, {"x": country}, output, when + timedelta(seconds=at))
    report = small.drift(by="x", side="outputs")
    assert report.column("output").verdict == "STEADY"
    assert {g.group: g.verdict for g in report.groups} == {
        **{"(all)": "STEADY", "AT": "DRIFTED", "DE": "STEADY"}
    }
    assert report.drifted


def test_an_unknown_feature_is_said(pipeline: Pipeline) -> None:
    report = pipeline.drift(since=day(8), by="colour")
    assert any("has the feature colour" in remark for remark in report.remarks)


# Components


def test_a_component_is_compared_by_the_profiles_of_its_runs(pipeline: Pipeline) -> None:
    report = pipeline.drift(COMPONENT, since=day(8))
    assert (report.subject, report.verdict) == ("component", "DRIFTED")
    assert verdicts(report) == {
        **{"country": "DRIFTED", "hours": "DRIFTED", "income": "DRIFTED"},
        **{"steady": "STEADY", "tickets": "STEADY"},
    }
    assert report.now_rows == 4 * A_WEEK and "4 runs now, 4 then" in report.remarks
    assert pipeline.drift(COMPONENT, since=day(4), until=day(8)).verdict == "STEADY"


def test_a_component_is_compared_with_a_run(pipeline: Pipeline) -> None:
    report = pipeline.drift(COMPONENT, since=day(8), baseline="run/week-0")
    assert report.then is None and report.then_rows == A_WEEK
    assert report.column("hours").verdict == "DRIFTED" and report.skew is None


def test_runs_without_a_readable_profile_are_counted(small: Small) -> None:
    began = int(LATER.timestamp() * 1_000_000)
    broken = small.blobs.put(b'{"format": "attestory profile v1", "columns": 5}')
    uses = [reference("a", 5, None), reference("b", 5, broken), reference("c", 5, "sha256:no")]
    fields = run_fields("weekly", "r1", began, uses)
    small.emit.record("component.run", fields, entity_type="run", entity_key="r1")
    report = small.drift("weekly")
    assert report.verdict == "CANNOT_TELL" and report.columns == ()
    assert "left out now: 1 frames without a profile" in report.remarks
    assert "left out now: 2 profiles that cannot be read" in report.remarks


def test_columns_that_two_frames_share_are_named_by_frame(small: Small) -> None:
    frame = pd.DataFrame({"id": range(20), "x": np.arange(20.0)})
    for run_id, when in (("r1", NOON), ("r2", LATER)):
        both = [frame, frame[["id"]].astype("float64")]
        record_component(small.emit, small.blobs, "join", run_id, when, both, ("left", "right"))
    report = small.drift("join")
    assert [column.name for column in report.columns] == ["left.id", "right.id", "x"]


def test_a_model_name_wins_over_a_run_of_the_same_name(pipeline: Pipeline) -> None:
    assert pipeline.drift("churn", since=day(8)).subject == "model"


# Columns


def test_samples_of_profiles_count_in_proportion() -> None:
    column = Column("x")
    for rows, value in ((1_000_000, 1.0), (10_000, 2.0)):
        sample = [value] * 1_000
        column.add_profiled(
            Profiled("double", "number", rows, 0, 0, 0, value, value, value, sample, {}, 0)
        )
    found = column.distribution()
    assert found.numbers == 1_010_000 and found.sampled
    assert 900 <= sum(value == 1.0 for value in found.values) <= 1_000
    assert sum(value == 2.0 for value in found.values) < 40
    assert (found.minimum, found.maximum) == (1.0, 2.0)
    assert found.mean == pytest.approx(1.0099, abs=1e-3)


def test_the_reservoir_is_fair_and_the_same_each_time() -> None:
    def sample() -> Distribution:
        column = Column("x", 500)
        for at in range(10_000):
            column.add(at)
        return column.distribution()

    found = sample()
    assert len(found.values) == 500 and found.sampled and found.zeros == 1
    assert 4_600 < float(np.mean(found.values)) < 5_400
    assert list(found.values) == list(sample().values)


def test_categories_that_one_side_did_not_list_are_put_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distributions, "MAX_CATEGORIES", 2)
    columns = [Column("x"), Column("x")]
    for column, values in zip(columns, ("aabbc", "ccaab"), strict=True):
        for value in values:
            column.add(value)
    then, now = (column.distribution() for column in columns)
    assert (dict(then.categories), then.others) == ({"a": 2, "b": 2}, 1)
    assert comparable(then, now) == ({"a": 2, "(others)": 3}, {"a": 2, "(others)": 3}, True)


def test_a_long_text_is_a_category_by_its_digest() -> None:
    assert category_text("x" * 200) == "x" * 200
    assert category_text("x" * 201).startswith("x" * 60 + "... sha256:")
    assert category_text("x" * 201) != category_text("x" * 202)
    assert (category_text(True), category_text(None), category_text(1.5)) == (
        *("true", "(missing)", "1.5"),
    )


def test_a_large_distance_by_chance_is_no_drift() -> None:
    distance = Statistic("JENSEN_SHANNON", 0.2, None, 0.1, True, (9, 9))
    chance = Statistic("KOLMOGOROV_SMIRNOV", 0.2, 0.4, 0.01, False, (9, 9))
    unclear = chance._replace(p_value=None, exceeded=None)
    assert judge([distance, chance])[0] == "STEADY"
    assert judge([distance, unclear])[0] == "CANNOT_TELL"
    assert judge([distance, chance._replace(exceeded=True)])[0] == "DRIFTED"
    assert judge([])[0] == "CANNOT_TELL"


def test_type_changes() -> None:
    assert type_change({"integer": 9}, {"integer": 5}) is None
    assert type_change({"integer": 9, "double": 1}, {"integer": 5}) is None
    assert type_change({"integer": 9}, {"integer": 8, "string": 1}) == "integer -> integer, string"
    assert type_change({"integer": 4, "double": 9}, {"integer": 5}) == "double, integer -> integer"
    assert type_change({}, {"integer": 5}) is None


def test_a_column_without_values_cannot_be_compared() -> None:
    empty, full = Column("x"), Column("x")
    for at in range(20):
        empty.add(None)
        full.add(float(at))
    gone = compare_column("x", "inputs", full.distribution(), empty.distribution())
    assert gone.verdict == "DRIFTED" and gone.reasons == ("MISSING_RATE 1 > 0.1",)
    assert compare_column("x", "inputs", *[empty.distribution()] * 2).verdict == "STEADY"


def test_not_found_is_told_of_what_is_nowhere(small: Small) -> None:
    small.say([1.0], [1.0])
    with pytest.raises(NotFound, match="no model and no component is called"):
        small.drift("churm")


def test_the_pipeline_ends_where_the_tests_think() -> None:
    assert (day(0), day(12)) == (START.date().isoformat(), END.date().isoformat())
