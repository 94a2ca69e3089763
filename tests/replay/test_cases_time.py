"""What time means: both axes, cuts, late data, transactions, corrections."""

import io
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from audit.errors import Ambiguous, InvalidInput, NotFound
from audit.replay.asof import dataset, hint
from audit.replay.citation import cite, cut_of_sizes, transactions_cut
from audit.replay.points import resolve
from audit.replay.refs import parse_ref
from audit.replay.rows_out import write_csv, write_jsonl
from tests.replay.conftest import DAY_US, HOUR_US, START_US, LedgerInTest, us

ZURICH = ZoneInfo("Europe/Zurich")


def bytes_of(ledger: LedgerInTest, as_of: object, valid_at: str | None = None) -> str:
    """An answer as text: rows, columns and what it cites. Two equal ones are the same answer."""
    valid_at_us = None if valid_at is None else us(valid_at)
    cut = resolve(ledger.store, as_of, ledger.now_us)  # type: ignore[arg-type]
    found = dataset(ledger.store, "user", cut, valid_at_us)
    out = io.StringIO()
    write_jsonl(found.rows(), out)
    write_csv(found.rows(), found.columns, out)
    cited = [(log.origin, log.size, log.root_hash) for log in cite(ledger.store, cut).logs]
    return out.getvalue() + repr(cited)


def test_equal_clock_readings_give_distinct_points(ledger: LedgerInTest) -> None:
    places = [ledger.emit("create", key, {"n": key}, at="2026-01-02") for key in (1, 2, 3)]
    times = [ledger.recorded_us(place) for place in places]
    assert times == [us("2026-01-02"), us("2026-01-02") + 1, us("2026-01-02") + 2]
    assert [list(ledger.rows(place)) for place in map(ledger.at_us, times)] == [
        ["1"],
        ["1", "2"],
        ["1", "2", "3"],
    ]


def test_one_microsecond_before_at_and_after_an_event(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"dpt": "SCS"}, at="2026-01-02")
    ledger.emit("update", 5, {"dpt": "ISR"}, at="2026-01-03")
    at_us = us("2026-01-03")
    assert ledger.row("user/5", ledger.at_us(at_us - 1)) == {"dpt": "SCS"}
    assert ledger.row("user/5", ledger.at_us(at_us)) == {"dpt": "ISR"}
    assert ledger.row("user/5", ledger.at_us(at_us + 1)) == {"dpt": "ISR"}


def test_a_time_before_the_first_entry_gives_an_empty_dataset_with_its_columns(
    ledger: LedgerInTest,
) -> None:
    ledger.emit("create", 5, {"name": "Christian", "dpt": "SCS"}, at="2026-01-02")
    cut = ledger.cut("2001-01-01")
    found = dataset(ledger.store, "user", cut)
    assert cut.sizes == {0: 0}
    assert list(found.rows()) == []
    assert found.columns == ("dpt", "name")
    assert ledger.row("user/5", "2001-01-01") is None


def test_a_time_in_the_future_gives_the_head_and_says_so(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"n": 1}, at="2026-01-02")
    cut = ledger.cut("2030-01-01")
    assert cut.in_future
    assert not cut.settled
    assert cut.sizes == ledger.cut("HEAD").sizes
    assert "in the future" in cite(ledger.store, cut).remarks()[0]
    assert not ledger.cut("2026-01-02").in_future


def test_a_cut_of_size_0_has_no_rows(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"n": 1})
    cut = cut_of_sizes(ledger.store, {0: 0})
    assert ledger.rows(cut) == {}
    cited = cite(ledger.store, cut).logs[0]
    assert cited.size == 0
    assert cited.root_hash is not None
    assert cited.root_hash.hex().startswith("e3b0c442")


def test_a_dataset_whose_rows_are_all_gone_is_empty_and_keeps_its_columns(
    ledger: LedgerInTest,
) -> None:
    ledger.emit("create", 5, {"n": 1})
    ledger.emit("delete", 5)
    found = dataset(ledger.store, "user", ledger.cut())
    assert list(found.rows()) == []
    assert found.columns == ("n",)


def test_create_delete_create_as_of_each_gap(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"n": 1, "old": True}, at="2026-01-02")
    ledger.emit("delete", 5, at="2026-01-04")
    ledger.emit("create", 5, {"n": 2}, at="2026-01-06")
    assert [ledger.rows(f"2026-01-0{day}") for day in (1, 3, 5, 7)] == [
        {},
        {"5": {"n": 1, "old": True}},
        {},
        {"5": {"n": 2}},
    ]


def test_a_late_arrival_does_not_change_an_earlier_answer(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"n": 1}, at="2026-01-02", valid="2026-01-01")
    ledger.emit("update", 5, {"n": 3}, at="2026-01-04", valid="2026-01-03")
    before = bytes_of(ledger, "2026-01-04")
    before_valid = bytes_of(ledger, "2026-01-04", "2026-01-02")
    late = ledger.emit(
        "update", 5, {"n": 2, "extra": 0}, at="2026-01-06", valid="2026-01-02", reason="late"
    )
    assert bytes_of(ledger, "2026-01-04") == before
    assert bytes_of(ledger, "2026-01-04", "2026-01-02") == before_valid
    assert ledger.row("user/5", "HEAD") == {"n": 2, "extra": 0}
    assert ledger.row("user/5", "HEAD", "2026-01-02") == {"n": 2, "extra": 0}
    assert ledger.row("user/5", "HEAD", "2026-01-03") == {"n": 3, "extra": 0}
    assert late[1] == ledger.cut().size(0) - 1


def test_on_the_valid_axis_a_correction_recorded_later_wins(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"n": 1}, at="2026-01-02", valid="2026-01-01")
    ledger.emit("update", 5, {"n": 2}, at="2026-01-03", valid="2026-01-01")
    assert ledger.row("user/5", "HEAD", "2026-01-01") == {"n": 2}
    assert ledger.row("user/5", "2026-01-02", "2026-01-01") == {"n": 1}
    assert ledger.row("user/5", "HEAD", us("2026-01-01") - 1) is None


def test_an_event_without_valid_time_is_valid_from_its_recorded_time(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"n": 1}, at="2026-01-05", valid=None)
    assert ledger.row("user/5", "HEAD", "2026-01-05") == {"n": 1}
    assert ledger.row("user/5", "HEAD", us("2026-01-05") - 1) is None


def test_a_valid_time_in_the_future_counts_on_the_recorded_axis(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"n": 1}, at="2026-01-02", valid="2030-01-01")
    assert ledger.row("user/5") == {"n": 1}
    assert ledger.row("user/5", "HEAD", "2029-12-31") is None
    assert ledger.row("user/5", "HEAD", "2030-01-01") == {"n": 1}


def test_superseding_takes_an_event_out_from_that_moment_on(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"n": 1}, at="2026-01-02")
    ledger.emit("update", 5, {"wrong": True, "n": 9}, at="2026-01-03", event_id="bad")
    before = ledger.rows("2026-01-03")
    ledger.emit("update", 5, {"m": 2}, at="2026-01-04", supersedes="bad")
    assert before == {"5": {"n": 9, "wrong": True}}
    assert ledger.rows("2026-01-03") == before
    assert ledger.rows("HEAD") == {"5": {"n": 1, "m": 2}}


def test_superseding_counts_on_the_valid_axis_whenever_it_is_valid_itself(
    ledger: LedgerInTest,
) -> None:
    ledger.emit("create", 5, {"n": 1}, at="2026-01-02", valid="2025-01-01", event_id="bad")
    ledger.emit("create", 5, {"n": 2}, at="2026-01-03", valid="2027-01-01", supersedes="bad")
    assert ledger.row("user/5", "2026-01-02", "2026-01-01") == {"n": 1}
    assert ledger.row("user/5", "HEAD", "2026-01-01") is None
    assert ledger.row("user/5", "HEAD", "2027-01-01") == {"n": 2}


def test_superseding_cannot_be_taken_back(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"n": 1})
    ledger.emit("update", 5, {"a": 1}, event_id="a")
    ledger.emit("update", 5, {"b": 1}, event_id="b", supersedes="a")
    ledger.emit("update", 5, {"c": 1}, supersedes="b")
    assert ledger.row("user/5") == {"n": 1, "c": 1}


def test_a_transaction_of_1000_events_cut_by_a_time_is_said_and_not_moved(
    ledger: LedgerInTest,
) -> None:
    made = [ledger.event("create", n, {"n": n}, transaction_id="tx-1") for n in range(1000)]
    places = ledger.seal([event for event, _ in made], made[0][1], at="2026-01-02")
    middle = places[399]
    cut = ledger.cut(ledger.at_us(ledger.recorded_us(middle)))
    assert cut.sizes == {0: middle[1] + 1}
    assert len(ledger.rows(cut)) == 400
    citation = cite(ledger.store, cut)
    assert citation.to_dict()["transactions_cut"] == [
        {"transaction_id": "tx-1", "events_inside": 400, "events_outside": 600}
    ]
    assert any("transaction tx-1" in remark for remark in citation.remarks())
    assert cite(ledger.store, ledger.cut()).transactions_cut == ()
    assert cite(ledger.store, ledger.cut("2026-01-01")).transactions_cut == ()


def test_transactions_are_searched_to_the_end_when_asked(ledger: LedgerInTest) -> None:
    first = ledger.emit("create", 1, {"n": 1}, transaction_id="long")
    for n in range(2, 8):
        ledger.emit("create", n, {"n": n})
    ledger.emit("update", 1, {"n": 9}, transaction_id="long")
    cut = ledger.cut(first[1])
    assert transactions_cut(ledger.store, cut, window=3) == []
    assert [found[0] for found in transactions_cut(ledger.store, cut, window=None)] == ["long"]


def test_two_logs_with_different_clocks_are_cut_each_by_its_own(ledger: LedgerInTest) -> None:
    ledger.open_log(1)
    ledger.emit("create", "a", {"n": 1}, at="2026-01-05", log=0)
    ledger.emit("create", "b", {"n": 2}, at="2026-01-03", log=1)
    ledger.emit("update", "b", {"n": 3}, at="2026-01-06", log=1)
    assert ledger.rows("2026-01-04") == {"b": {"n": 2}}
    assert ledger.rows("2026-01-05") == {"a": {"n": 1}, "b": {"n": 2}}
    assert ledger.rows("2026-01-06") == {"a": {"n": 1}, "b": {"n": 3}}
    logs = cite(ledger.store, ledger.cut("2026-01-05")).logs
    assert [(log.log, log.settled) for log in logs] == [(0, False), (1, True)]


def test_a_position_cuts_the_other_logs_at_its_recorded_time(ledger: LedgerInTest) -> None:
    ledger.open_log(1)
    ledger.emit("create", "a", {"n": 1}, at="2026-01-03", log=0)
    place = ledger.emit("create", "b", {"n": 1}, at="2026-01-04", log=1)
    ledger.emit("update", "b", {"n": 2}, at="2026-01-04", log=1)
    ledger.emit("update", "a", {"n": 2}, at="2026-01-05", log=0)
    cut = ledger.cut(f"{place[0]}/{place[1]}")
    assert cut.size(1) == place[1] + 1
    assert ledger.rows(cut) == {"a": {"n": 1}, "b": {"n": 1}}
    with pytest.raises(Ambiguous, match="fits 2 logs"):
        ledger.cut(place[1])


def test_an_entity_with_its_history_in_two_logs_is_read_by_recorded_time(
    ledger: LedgerInTest,
) -> None:
    ledger.open_log(1)
    ledger.emit("create", "a", {"n": 1}, at="2026-01-02", log=1)
    ledger.emit("update", "a", {"n": 2}, at="2026-01-03", log=0)
    ledger.emit("update", "a", {"m": 3}, at="2026-01-04", log=1)
    assert ledger.rows() == {"a": {"n": 2, "m": 3}}
    assert ledger.row("user/a") == {"n": 2, "m": 3}


def test_equal_recorded_times_in_two_logs_fold_in_the_order_of_the_logs(
    ledger: LedgerInTest,
) -> None:
    ledger.open_log(1)
    ledger.emit("create", "a", {"n": 1}, at="2026-01-02", log=1)
    ledger.emit("create", "a", {"n": 0}, at="2026-01-02", log=0)
    assert ledger.row("user/a") == {"n": 1}
    assert ledger.rows() == {"a": {"n": 1}}


def test_a_backward_clock_never_shows(ledger: LedgerInTest) -> None:
    first = ledger.emit("create", 5, {"n": 1}, at="2026-01-05")
    second = ledger.emit("update", 5, {"n": 2}, at="2026-01-02")
    assert ledger.recorded_us(second) == ledger.recorded_us(first) + 1
    assert ledger.row("user/5", "2026-01-03") is None
    assert ledger.row("user/5", ledger.at_us(us("2026-01-05"))) == {"n": 1}
    assert ledger.row("user/5", ledger.at_us(us("2026-01-05") + 1)) == {"n": 2}


def test_a_time_is_settled_once_a_later_entry_is_there(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"n": 1}, at="2026-01-02")
    assert not ledger.cut("2026-01-02").settled
    assert not ledger.cut("2026-01-03").settled
    ledger.emit("update", 5, {"n": 2}, at="2026-01-04")
    assert ledger.cut("2026-01-03").settled
    ledger.now_us = us("2026-01-06")
    citation = cite(ledger.store, ledger.cut("2026-01-05"))
    assert citation.to_dict()["settled"] is False
    assert "not settled" in citation.remarks()[0]


def test_a_position_is_settled(ledger: LedgerInTest) -> None:
    place = ledger.emit("create", 5, {"n": 1})
    assert ledger.cut(place[1]).settled
    assert ledger.cut("HEAD").settled


def test_a_citation_makes_the_same_answer_again(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"n": 1}, at="2026-01-02")
    cut = ledger.cut("now")
    rows = ledger.rows(cut)
    cited = cite(ledger.store, cut).to_dict()
    ledger.emit("update", 5, {"n": 2}, at="2026-01-02")
    again = cut_of_sizes(ledger.store, {log["log"]: log["size"] for log in cited["logs"]})
    assert ledger.rows(again) == rows
    assert (
        cite(ledger.store, again).to_dict()["logs"][0]["root_hash"] == cited["logs"][0]["root_hash"]
    )
    with pytest.raises(NotFound):
        cut_of_sizes(ledger.store, {0: 1000})
    with pytest.raises(NotFound):
        cut_of_sizes(ledger.store, {7: 0})


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 1, 3, tzinfo=UTC),
        datetime(2026, 1, 3, 1, tzinfo=ZURICH),
        datetime(2026, 1, 2, 19, tzinfo=timezone(timedelta(hours=-5))),
        date(2026, 1, 3),
        "2026-01-03",
        "2026-01-03T00:00:00Z",
        "2026-01-03T01:00:00+01:00",
    ],
)
def test_a_time_may_be_given_in_any_zone_and_form(ledger: LedgerInTest, moment: object) -> None:
    ledger.emit("create", 5, {"n": 1}, at="2026-01-03")
    cut = ledger.cut(moment)  # type: ignore[arg-type]
    assert cut.as_of_us == us("2026-01-03")
    assert ledger.rows(cut) == {"5": {"n": 1}}


def test_naive_datetimes_are_refused(ledger: LedgerInTest) -> None:
    with pytest.raises(InvalidInput):
        ledger.cut(datetime(2026, 1, 3))
    with pytest.raises(InvalidInput):
        ledger.cut("2026-01-03T00:00:00")


def test_both_sides_of_a_daylight_saving_fold_are_different_points(ledger: LedgerInTest) -> None:
    first = datetime(2026, 10, 25, 2, 30, tzinfo=ZURICH, fold=0)
    second = datetime(2026, 10, 25, 2, 30, tzinfo=ZURICH, fold=1)
    ledger.emit("create", 5, {"n": 1}, at="2026-10-25T00:45:00Z")
    assert ledger.cut(second).as_of_us == (ledger.cut(first).as_of_us or 0) + HOUR_US
    assert ledger.rows(first) == {}
    assert ledger.rows(second) == {"5": {"n": 1}}


@pytest.mark.parametrize("year", ["0001-01-01", "9999-12-31"])
def test_the_first_and_the_last_year_are_times(ledger: LedgerInTest, year: str) -> None:
    ledger.emit("create", 5, {"n": 1}, valid=year)
    assert ledger.row("user/5", "HEAD", year) == {"n": 1}
    assert ledger.row("user/5", "HEAD", us(year) - 1) is None
    assert len(ledger.rows(year)) == (year == "9999-12-31")
    limits = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)]
    assert [len(ledger.rows(limit)) for limit in limits] == [0, 1]


def test_an_import_of_old_data_names_valid_at(ledger: LedgerInTest) -> None:
    ledger.emit("create", 1001, {"n": 1}, entity="inquiry", valid="2020-01-15", at="2026-01-02")
    said = hint(ledger.store, "inquiry", ledger.cut("2020-06-01"))
    assert said is not None
    assert "--valid-at 2020-06-01" in said
    assert "2020-01-15" in said
    assert hint(ledger.store, parse_ref("inquiry/1001"), ledger.cut("2020-06-01")) is not None
    assert hint(ledger.store, "inquiry", ledger.cut("2019-01-01")) is None
    assert hint(ledger.store, "inquiry", ledger.cut("2026-01-02")) is None
    assert hint(ledger.store, "inquiry", ledger.cut("HEAD")) is None


def test_relative_times_count_from_now(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"n": 1}, at="2026-01-02")
    ledger.now_us = us("2026-01-09T12:00:00Z")
    assert ledger.cut("-7d").as_of_us == us("2026-01-02T12:00:00Z")
    assert ledger.cut("-1w").as_of_us == us("2026-01-02T12:00:00Z")
    assert ledger.cut("-3h").as_of_us == us("2026-01-09T09:00:00Z")
    assert ledger.cut("-30m").as_of_us == us("2026-01-09T11:30:00Z")
    assert ledger.cut("yesterday").as_of_us == us("2026-01-08")
    assert ledger.cut("now").as_of_us == ledger.now_us
    assert ledger.now_us - START_US > 8 * DAY_US
