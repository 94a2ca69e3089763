"""Finding runs: windows, statuses, those that never ended, records that lie."""

import pytest

from audit.capture.delivery.embedded import open_for_writing
from audit.errors import InvalidInput
from audit.event.build import record_event, schema_event
from audit.event.envelope import encode_event
from audit.ledger import Ledger
from audit.lineage.recorded.run_search import has_column
from audit.lineage.recorded.runs import use_to_json
from audit.log.intake import Message
from tests.lineage.common import CLOCK_US, Case
from tests.lineage.run_records import DAY_US, DIGEST, RUN_FIELDS, run, use


def ids(ledger: Ledger, *args: object, **options: object) -> list[str]:
    return [one.run_id for one in ledger.runs(*args, **options)]  # type: ignore[arg-type]


@pytest.fixture
def runs(case: Case) -> Ledger:
    """Monday cleaning, Tuesday a failed one, Wednesday an inference that never ended."""
    run(case.emit, "mon")
    run(case.emit, "tue", started_us=CLOCK_US + DAY_US, status="FAIL", error="ValueError: no")
    run(case.emit, "wed", started_us=CLOCK_US + 2 * DAY_US, status="START", name="inference")
    case.emit.flush()
    return Ledger(case.url)


def test_runs_are_found_newest_first(runs: Ledger) -> None:
    assert ids(runs) == ["wed", "tue", "mon"]
    assert ids(runs, "cleaning") == ["tue", "mon"]
    assert ids(runs, "nothing of that name") == []
    assert ids(runs, since="2026-01-06", until="2026-01-07") == ["tue"]
    assert ids(runs, status="fail") == ["tue"]
    assert ids(runs, status="START") == ["wed"]
    with pytest.raises(InvalidInput, match="COMPLETE"):
        ids(runs, status="broken")


def test_the_end_of_a_run_replaces_its_start(case: Case) -> None:
    start = run(case.emit, "r", status="START", ended_us=None)
    run(case.emit, "r")
    case.emit.flush()
    with Ledger(case.url) as ledger:
        assert [one.status for one in ledger.runs()] == ["COMPLETE"]
        assert [one.status for one in ledger.runs(as_of=start)] == ["START"]
        assert [one.run_id for one in ledger.runs("cleaning")] == ["r"]
        assert ledger.runs("none") == []


def test_a_run_of_impossible_times_is_placed_when_it_was_recorded(case: Case) -> None:
    run(case.emit, "odd", started_us=2**62, ended_us=-(2**62), inputs=[use(as_of_us=2**62)])
    case.emit.flush()
    with Ledger(case.url) as ledger:
        (found,) = ledger.runs()
        assert (found.started_us, found.ended_us) == (None, None)
        assert found.to_json()["started"] is None and "as_of" not in use_to_json(found.inputs[0])


def test_runs_are_found_by_a_column_of_what_they_read(case: Case) -> None:
    run(case.emit, "with", inputs=[use(digest=DIGEST, columns={"gender": "x"})])
    run(case.emit, "without", inputs=[use(digest=DIGEST, columns={"amount": "y"})])
    case.emit.flush()
    with Ledger(case.url) as ledger:
        assert [one.run_id for one in ledger.runs() if has_column(one, "gender")] == ["with"]


def test_runs_of_all_logs_are_found(case: Case) -> None:
    run(case.emit, "zero")
    case.emit.flush()
    built = record_event(
        "component.run",
        {**RUN_FIELDS, "run_id": "one"},
        event_id="one",
        source="pipe",
        entity_type="run",
        entity_key="one",
    )
    with open_for_writing(case.url) as writer:
        writer.open_log(1, "test.example/one")
        events = [*map(schema_event, built.schemas), built.event]
        writer.append([Message(encode_event(event), None) for event in events], 1)
    with Ledger(case.url) as ledger:
        assert sorted(ids(ledger)) == ["one", "zero"]
