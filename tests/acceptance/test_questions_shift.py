"""Questions of somebody on call: what shifted, since when, and where to look."""

from typing import Any

import audit
from tests.acceptance.test_questions_drift import built, columns, weekly
from tests.cli.conftest import Cli
from tests.lineage.common_drift import DRIFT_WEEK, MODEL, WEEKS, day

__all__ = ["built", "weekly"]

MONTH = ("--since", day(8), "--until", day(12))
MONTH_BEFORE = ("--since", day(4), "--until", day(8))


def asked_in(cli: Cli, week: int) -> dict[str, Any]:
    """The first prediction of a week."""
    found: list[dict[str, Any]] = cli("predictions", f"valid:{day(week)}", "--json").json
    return found[0]


def test_L6_the_kinds_of_shift_are_told_apart(cli: Cli) -> None:
    """Inputs (x), labels (y), and how they hang together (y given x), which needs the labels."""
    cli("init", "--origin", "test.example/log")
    with audit.model_run("churn") as run:
        version = run.model({"hours": 8}, version="1")

    def month(name: str, hours: list[int], left: list[bool], number: str) -> None:
        """Serve, learn later what was true, and name the labelled rows of that month."""
        at = f"2026-0{number}-03T12:00:00Z"
        with audit.Emitter("sqlite:///audit.db", source="serving") as emit:

            @audit.predictor(model=version, emitter=emit)
            def score(features: dict[str, Any]) -> bool:
                return bool(features["hours"] < 8)

            with audit.context(valid_time=at):
                for hour, truth in zip(hours, left, strict=True):
                    score({"hours": hour})
                    audit.ground_truth(score.last_id, truth, origin="measured", emitter=emit)
        with audit.Ledger() as ledger:
            frame = ledger.training_set("churn", query=f"valid:2026-0{number}-03")
        assert len(frame) == len(hours)
        frame["wrong"] = (frame["output"] != frame["truth"]).astype(int)
        audit.dataset_version(name, frame, number)

        @audit.component(f"labels of {number}", profile=True)
        def labelled(rows: Any) -> int:
            return len(rows)

        labelled(frame)

    hours = [2, 4, 6, 10, 12, 14] * 20
    before = [hour < 8 for hour in hours]
    month("labelled", hours, before, "1")
    month("labelled", hours, [hour > 8 for hour in hours], "2")  # the concept has changed
    month("labelled", [hour * 5 for hour in hours], [False] * len(hours), "3")  # other customers

    def shifted(number: str) -> set[str]:
        command = ("drift", f"labels of {number}", "--baseline", "dataset/labelled@1", "--json")
        found = cli(*command, code=1).json
        return {name for name, one in columns(found).items() if one["drifted"]}

    assert shifted("2") == {"wrong"}  # neither x nor the shares of y, but y given x
    assert {"hours", "truth"} <= shifted("3")


def test_L7_from_the_alarm_to_the_cause(weekly: Cli) -> None:
    # How do we know that we have a problem? What are possible causes?
    alarm = weekly("drift", MODEL, *MONTH, "--json", code=1).json
    causes = {name for name, one in columns(alarm).items() if one["drifted"]}
    assert {"hours", "output"} <= causes
    # Good against bad: the same model, code and parameters; other inputs.
    good, bad = asked_in(weekly, DRIFT_WEEK - 1), asked_in(weekly, DRIFT_WEEK)
    refs = [f"prediction/{one['prediction']}" for one in (good, bad)]
    parts = weekly("trace-diff", *refs, "--json").json["parts"]
    same = {part["role"]: part["same"] for part in parts}
    assert same["model"] and same["serving code"] and not same["feature values"]
    (values,) = [part for part in parts if part["role"] == "feature values"]
    told = [line for line in values["details"] if line.startswith("hours: ")]
    assert told == [f"hours: {good['features']['hours']} -> {bad['features']['hours']}"]
    # What was it trained on? Back to the data, by content.
    assert "run/" in weekly("trace", refs[1]).out


def test_L12_the_first_week_in_which_it_broke(weekly: Cli) -> None:
    def broke_in(week: int) -> bool:
        with audit.Ledger() as ledger:
            window = {"since": day(week), "until": day(week + 1), "side": "inputs"}
            found = ledger.drift(MODEL, **window, baseline=f"{day(0)}..{day(4)}").to_json()
        return bool(columns(found)["hours"]["drifted"])

    first, last = 4, WEEKS - 1
    assert broke_in(last)
    while first < last:
        middle = (first + last) // 2
        first, last = (first, middle) if broke_in(middle) else (middle + 1, last)
    assert first == DRIFT_WEEK


def test_T16_an_alert_says_what_is_wrong_and_where_to_look(weekly: Cli) -> None:
    ran = weekly("drift", MODEL, *MONTH, code=1)  # the exit code alerts, the text can be sent
    told = {line.split()[1].rstrip(":"): line for line in ran.lines if line.startswith("DRIFTED ")}
    assert {"country", "hours", "income"} <= told.keys()
    assert "L_INFINITY" in told["country"] and "> 0.1" in told["country"]
    assert "missing" in told["income"].lower()
    # Where: which model, which window, and the point of the log that anybody can look at again.
    found = weekly("drift", MODEL, *MONTH, "--json", code=1).json
    assert (found["what"], found["now"]["since"][:10]) == (MODEL, day(8))
    (log,) = found["citation"]["logs"]
    assert log["root_hash"] and str(log["size"]) in ran.out
    assert weekly("drift", MODEL, *MONTH_BEFORE).code == 0
