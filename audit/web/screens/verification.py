"""Verification: the newest run over the whole ledger, how far it is, and the first bad entry."""

from typing import Any

from audit.web.answer import Answer, Asked, Screen


def _answer(asked: Asked) -> Answer:
    state = asked.verification()
    data: dict[str, Any] = {"run": state, "policy": None if asked.policy is None else _trust(asked)}
    report = state.get("report")
    first = None
    if report is not None:
        first = next((one for one in report["findings"] if one["index"] is not None), None)
    logs = {info.origin: info.log for info in asked.ledger.reader.logs()}
    view = {"report": report, "first": first, "log_of": logs}
    return Answer("Verification", data, view, ("audit", "verify"), permalink=asked.here())


def _trust(asked: Asked) -> str:
    assert asked.policy is not None
    return asked.policy.description


VERIFICATION = Screen(
    path="/verify",
    template="verify.html",
    about="The newest run of a verification of all entries: how far it is, or what it found.",
    answer=_answer,
    menu="Verify",
    is_recorded=False,
    is_at_point=False,
)
