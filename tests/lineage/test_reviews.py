"""Flags, and what flagged things have in common."""

import math

import pytest

from audit.capture.delivery.embedded import open_for_writing
from audit.errors import InvalidInput, NotFound
from audit.event.build import schema_event
from audit.event.envelope import encode_event
from audit.ledger import Ledger
from audit.ledger.flags import Said, flag, unflag
from audit.lineage.recorded.reviews import find_reviews, flag_event
from audit.lineage.tracing.suspects import suspects
from audit.log.intake import Message
from audit.store.contract import Status
from tests.lineage.common import Case
from tests.lineage.run_records import DIGEST, model, prediction, run, use

OTHER = "sha256:" + "cd" * 32
CLEANED = "frame-v1:sha256:" + "12" * 32


def say(case: Case, ref: str, message: str = "wrong", actor: str | None = "alice") -> Said:
    case.emit.flush()
    with Ledger(case.url) as ledger:
        return flag(ledger, ref, message, actor)


def take_back(case: Case, ref: str) -> Said:
    with Ledger(case.url) as ledger:
        return unflag(ledger, ref)


def refs(case: Case, as_of: str | None = None) -> list[str]:
    with Ledger(case.url) as ledger:
        return [one.ref for one in ledger.flagged(as_of)]


def test_a_flag_is_recorded_once_and_can_be_taken_back(case: Case) -> None:
    run(case.emit, "r")
    case.emit.create("user", 5, {"dpt": "SCS"})
    first = say(case, "run/r")
    assert first.new and say(case, "run/r") == first._replace(new=False)
    second = say(case, "run/r", "still wrong", "bob")
    assert second.new and say(case, "user/5").new
    assert refs(case) == ["run/r", "user/5"]
    with Ledger(case.url) as ledger:
        (flagged, _) = ledger.flagged()
        assert [(one.actor, one.message) for one in flagged.flags] == [
            ("alice", "wrong"),
            ("bob", "still wrong"),
        ]
    gone = take_back(case, "run/r")
    assert gone.new and take_back(case, "run/r") == gone._replace(new=False)
    assert refs(case) == ["user/5"]
    assert refs(case, first.event_id) == ["run/r"]
    again = say(case, "run/r")
    assert again.new and again.event_id != first.event_id and "run/r" in refs(case)


def test_two_who_flag_at_once_record_one_event(case: Case) -> None:
    run(case.emit, "r")
    case.emit.flush()
    with Ledger(case.url) as ledger, open_for_writing(case.url) as writer:
        before = find_reviews(ledger.reader, ledger.cut(), "run/r")
        built = flag_event("FLAG", "run/r", "wrong", "alice", "cli", before)
        events = [*map(schema_event, built.schemas), built.event]
        writer.append([Message(encode_event(event), None) for event in events])
        assert say(case, "run/r").new is False
        again = writer.append([Message(encode_event(built.event), None)]).outcomes
    assert [one.status for one in again] == [Status.DUPLICATE] and refs(case) == ["run/r"]


def test_only_what_is_recorded_can_be_flagged(case: Case) -> None:
    model(case.emit, "1")
    prediction(case.emit, "p")
    assert say(case, "model/credit-risk@1").new
    assert say(case, "prediction/p").ref == say(case, "prediction/test:p").ref == "prediction/p"
    for ref in ("prediction/003", "run/none", "model/credit-risk@2", "user/5"):
        with pytest.raises(NotFound):
            say(case, ref)
    for ref in ("p", "model/credit-risk", ""):
        with pytest.raises(InvalidInput):
            say(case, ref)
    with pytest.raises(InvalidInput):
        say(case, "prediction/p", "  ")
    run(case.emit, "r")
    case.emit.flush()
    with pytest.raises(NotFound, match="not flagged"):
        take_back(case, "run/r")


def test_what_lies_about_its_thing_is_no_review(case: Case) -> None:
    said = {"ref": "run/other", "kind": "FLAG", "message": "x"}
    case.emit.record("review", said, entity_type="review", entity_key="run/r")
    case.emit.record("review", {"odd": 1}, entity_type="review", entity_key="run/r")
    case.emit.flush()
    with Ledger(case.url) as ledger:
        assert find_reviews(ledger.reader, ledger.cut()) == [] and ledger.flagged() == []


def test_reviews_of_all_logs_count_and_flags_go_into_log_0(case: Case) -> None:
    run(case.emit, "r")
    case.emit.flush()
    with open_for_writing(case.url) as writer:
        writer.open_log(1, "test.example/one")
    assert say(case, "run/r").log == 0 and refs(case) == ["run/r"]


@pytest.fixture
def answered(case: Case) -> Case:
    """Two versions from one cleaning; three answers of version 1 are flagged, one of 2 is not."""
    run(case.emit, "clean", outputs=[use(digest=CLEANED)])
    for version, digest in (("1", DIGEST), ("2", OTHER)):
        made = {"name": "credit-risk", "version": version, "digest": digest}
        given = [use(digest=CLEANED)]
        run(case.emit, f"train-{version}", name="train", inputs=given, model=made, models=[made])
        model(case.emit, version, digest=digest, run_id=f"train-{version}")
    for at in range(4):
        prediction(case.emit, f"a{at}")
        prediction(case.emit, f"b{at}", model_version="2", model_digest=OTHER)
    for name in ("a0", "a1", "a2", "b0"):
        say(case, f"prediction/{name}")
    return case


def test_what_the_flagged_share_most_comes_first(answered: Case) -> None:
    with Ledger(answered.url) as ledger:
        ranking = ledger.review()
    scores = {one.ref: one.score for one in ranking}
    # Four flagged: three of version 1, one of 2. Unflagged: a3, and b1, b2, b3.
    assert scores["run/train-1"] == scores["model/credit-risk@1"] == 3 / math.sqrt(4 * (3 + 1))
    assert scores["run/train-2"] == 1 / math.sqrt(4 * (1 + 3))
    assert scores["run/clean"] == 4 / math.sqrt(4 * (4 + 4))
    assert {one.ref for one in ranking[:2]} == {"run/train-1", "model/credit-risk@1"}
    assert ranking[0].to_json()["unflagged_total"] == 4


def test_what_one_flagged_thing_alone_has_comes_last(answered: Case) -> None:
    made = {"name": "credit-risk", "version": "3", "digest": "sha256:" + "ef" * 32}
    run(answered.emit, "train-3", name="train", model=made, models=[made])
    model(answered.emit, "3", digest=made["digest"], run_id="train-3")
    prediction(answered.emit, "c0", model_version="3", model_digest=made["digest"])
    say(answered, "prediction/c0")
    with Ledger(answered.url) as ledger:
        ranking = ledger.review()
    alone = {one.ref: one for one in ranking}["run/train-3"]
    assert alone.score == 1 / math.sqrt(5) and alone.unflagged == 0
    shared = [one.ref for one in ranking if one.flagged > 1]
    assert [one.ref for one in ranking[: len(shared)]] == shared


def test_what_leads_nowhere_is_said(answered: Case) -> None:
    answered.emit.create("user", 5, {"dpt": "SCS"})
    say(answered, "user/5")
    with Ledger(answered.url) as ledger:
        flagged = [one.ref for one in ledger.flagged()]
        found = suspects(ledger.reader, ledger.cut(), [*flagged, "run/never-recorded"])
    assert set(found.untraced) == {"user/5", "run/never-recorded"}
    assert (found.traced, found.compared, found.models) == (4, 4, ("credit-risk",))
