"""`audit flag`, `audit unflag`, `audit review`."""

import pytest

from audit.capture.emitter import Emitter
from tests.cli.conftest import Cli
from tests.lineage.run_records import DIGEST, model, prediction, run

URL = "sqlite:///audit.db"


@pytest.fixture
def answers(cli: Cli) -> Cli:
    """One model version of a run, and two predictions of it."""
    made = {"name": "credit-risk", "version": "1", "digest": DIGEST}
    with Emitter(URL, source="test") as emit:
        run(emit, "train", name="train", model=made, models=[made])
        model(emit, "1", run_id="train")
        prediction(emit, "p1")
        prediction(emit, "p2")
        emit.create("user", 5, {"dpt": "SCS"})
    return cli


def test_flags_are_shown_with_who_and_why(answers: Cli) -> None:
    first = answers("flag", "prediction/p1", "-m", "never late", "--actor", "alice")
    again = answers("flag", "prediction/p1", "-m", "never late", "--actor", "alice")
    assert first.out == again.out and "flagged so before" in again.err
    out = answers("review").out
    assert "prediction/p1" in out and "alice" in out and "never late" in out
    assert "run/train" in out and "1/1" in out
    (found,) = answers("predictions", "--flagged", "--json").json
    assert found["prediction"] == "p1"
    event = answers("show", first.out.strip(), "--json").json
    assert (event["type"], event["actor"], event["data"]["kind"]) == ("review", "alice", "FLAG")
    assert answers("verify", "--json").json["verdict"] == "ok"


def test_the_ranking_as_json(answers: Cli) -> None:
    assert answers("review", "--json").json["suspects"] == []
    assert "nothing is flagged" in answers("review").err
    said = answers("flag", "prediction/test:p1", "-m", "wrong", "--json").json
    assert said["ref"] == "prediction/p1" and not said["duplicate"] and said["log"] == 0
    found = answers("review", "--json").json
    assert [one["ref"] for one in found["flagged"]] == ["prediction/p1"]
    assert {one["ref"] for one in found["suspects"]} == {"run/train", "model/credit-risk@1"}
    assert (found["compared"], found["models"]) == (1, ["credit-risk"])
    assert len(answers("review", "-n", "1", "--json").json["suspects"]) == 1
    before = answers("review", "--as-of", str(said["index"] - 1), "--json").json
    assert before["flagged"] == []


def test_flags_are_taken_back(answers: Cli) -> None:
    answers("flag", "user/5", "-m", "typo")
    assert "nothing is recorded that it was made from" in answers("review").err
    answers("unflag", "user/5", "-m", "it was right", "--actor", "bob")
    assert "before" in answers("unflag", "user/5").err
    assert "nothing is flagged" in answers("review").err
    assert len(answers("log", "type:review", "--oneline").lines) == 2


def test_only_what_is_there_can_be_flagged(answers: Cli, cli: Cli) -> None:
    for ref in ("prediction/none", "run/none", "model/credit-risk@9", "user/6", "5"):
        answers("flag", ref, "-m", "x", code=2)
    answers("flag", "user/5", code=2)
    answers("unflag", "user/5", code=2)
    cli("flag", "user/5", "-m", "x", "--store", "sqlite:///nowhere.db", code=3)
