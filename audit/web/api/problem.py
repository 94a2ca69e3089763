"""Errors as data: RFC 9457, problem details for HTTP APIs."""

import json
from http import HTTPStatus
from typing import Annotated, Literal, TypedDict

from audit.web.api.shape import More

PROBLEM_TYPE = "application/problem+json"


class Problem(TypedDict):
    """What went wrong, as RFC 9457 says it."""

    type: Annotated[Literal["about:blank"], "Always: the status says what kind of problem it is."]
    title: Annotated[str, "The status in words.", More({"examples": ["Bad Request"]})]
    status: Annotated[int, More({"minimum": 400, "maximum": 599})]
    detail: Annotated[str, "What is wrong, and what to do."]
    kind: Annotated[
        str,
        "The error as the library calls it: InvalidInput, NotFound, StoreBusy, Unproven, ...; "
        "empty where the request never reached it.",
    ]


def problem(status: int, detail: str, kind: str = "") -> bytes:
    """The body of an error."""
    said: Problem = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "kind": kind,
    }
    return json.dumps(said).encode() + b"\n"
