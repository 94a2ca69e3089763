"""From a request to a screen's answer, and from the answer to the form that was asked for."""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from difflib import get_close_matches
from typing import Any
from uuid import uuid4

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from audit.errors import AuditError, InvalidInput, NotFound, Unavailable, Unproven
from audit.ledger import Ledger
from audit.replay.points import Cut
from audit.web.access import Access
from audit.web.answer import AS_OF, PIN, Answer, Asked, Parameter, Screen
from audit.web.forms import CSV, HTML, JSON, MEDIA_TYPES, PARQUET, json_text
from audit.web.guard.asgi import name_of_visitor
from audit.web.options import WebOptions
from audit.web.pinned import pinned
from audit.web.readers import Readers
from audit.web.render import page, plain_page
from audit.web.streaming import TableResponse
from audit.web.verifying import Verifying

MAX_PARAMETER_CHARS = 16_384
"""Longest value of one parameter."""

RETRY = {"retry-after": "5"}
"""Headers of 503."""

_log = logging.getLogger("audit.web")

_BUG = "a bug in this server, not in what was asked; its log has it under {}"


class Handling:
    """All screens of one view."""

    def __init__(
        self,
        options: WebOptions,
        readers: Readers,
        access: Access,
        verifying: Verifying,
        screens: tuple[Screen, ...],
    ) -> None:
        """`screens` in the order of the menu."""
        self._verification = verifying.state
        self._options = options
        self._readers = readers
        self._access = access
        self._screens = screens
        self._menu = tuple(screen for screen in screens if screen.menu is not None)

    def add_to(self, app: FastAPI) -> None:
        """Add every screen's addresses, and how errors look."""
        for screen in self._screens:
            forms = (HTML, JSON, CSV, PARQUET) if screen.tabular else (HTML, JSON)
            for form in forms:
                path = _address(screen, form)
                app.add_api_route(
                    path,
                    self._handler(screen, form),
                    methods=["GET", "HEAD"] if form == HTML else ["GET"],
                    summary=screen.about,
                    operation_id=f"{screen.path.strip('/') or 'index'}{form.replace('.', '_')}",
                    include_in_schema=form != HTML,
                    response_class=Response,
                    responses=_responses(form),
                    openapi_extra={"parameters": [_described(one) for one in _taken(screen)]},
                )
        app.add_exception_handler(Exception, self.failed)
        app.add_exception_handler(HTTPException, self._no_page)

    def _handler(self, screen: Screen, form: str) -> Callable[[Request], Response]:
        def handle(request: Request) -> Response:
            try:
                return self._answered(screen, form, request)
            except Exception as error:  # a screen's bug must not end as a bare 500
                return self.failed(request, error)

        return handle

    def _answered(self, screen: Screen, form: str, request: Request) -> Response:
        parameters = _parameters(request, screen)
        who = name_of_visitor(request.scope)
        with ExitStack() as held:
            wants_table = form in (CSV, PARQUET)
            lent = self._readers.lent_for_stream if wants_table else self._readers.lent
            ledger = held.enter_context(lent())
            cut = _cut(ledger, parameters)
            policy = ledger.policy_file(self._options.policy)
            asked = Asked(
                ledger, policy, cut, screen.path, parameters, wants_table, self._verification
            )
            answer = screen.answer(asked)
            if screen.is_recorded:
                self._access.note(who, _address(screen, form), asked)
            if not wants_table:
                body = (
                    json_text(answer.data).decode()
                    if form == JSON
                    else page(screen, asked, answer, self._menu, who)
                )
                return Response(body, media_type=MEDIA_TYPES.get(form, "text/html"))
            if answer.table is None:
                raise InvalidInput("there is no table in this answer")
            name = f"{_file_name(answer)}{form}"
            # The stream goes on after this function: the ledger stays lent until its end.
            return TableResponse(answer.table, form, name, held.pop_all())

    def failed(self, request: Request, error: Exception) -> Response:
        """An error as a page or JSON, whichever was asked for."""
        status, words = _status(error), str(error)
        if status is None:
            number = uuid4().hex[:12]
            _log.error("%s: %s", number, type(error).__name__, exc_info=error)
            status, words = 500, _BUG.format(number)
        return self._error_in_form(request, status, type(error).__name__, words)

    def _no_page(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        words = "there is no page at this address" if status == 404 else "this view is read-only"
        return self._error_in_form(request, status, "NotFound" if status == 404 else "", words)

    def _error_in_form(self, request: Request, status: int, kind: str, words: str) -> Response:
        headers = RETRY if status == 503 else None
        if request.url.path.endswith((JSON, CSV, PARQUET)):
            body: Any = json_text({"error": {"kind": kind, "message": words}})
            return Response(body, status, headers, MEDIA_TYPES[JSON])
        body = plain_page("error.html", status=status, words=words, menu=self._menu)
        return Response(body, status, headers, "text/html")


def _address(screen: Screen, form: str) -> str:
    """Where a form of a screen is."""
    return "/index" + form if screen.path == "/" and form else screen.path + form


def _status(error: Exception) -> int | None:
    """The HTTP status of an error of ours; None for a bug."""
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, InvalidInput):
        return 400
    if isinstance(error, Unavailable):
        return 503
    if isinstance(error, Unproven | AuditError):
        return 409
    return None


def _parameters(request: Request, screen: Screen) -> Mapping[str, str]:
    """The address's parameters. Raises InvalidInput for one that the screen does not take."""
    known = {parameter.name: parameter for parameter in _taken(screen)}
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise InvalidInput(f"there is no parameter {name[:80]!r} here; {hint}")
        if name in found:
            raise InvalidInput(f"{name} is given twice")
        if len(value) > MAX_PARAMETER_CHARS:
            raise InvalidInput(f"{name} is over {MAX_PARAMETER_CHARS} characters")
        choices = known[name].choices
        if choices and value and value not in choices:
            raise InvalidInput(f"{name} is one of {', '.join(choices)}; not {value[:80]!r}")
        found[name] = value
    return found


def _taken(screen: Screen) -> tuple[Parameter, ...]:
    return (*screen.parameters, AS_OF, PIN)


def _cut(ledger: Ledger, parameters: Mapping[str, str]) -> Cut:
    pin = parameters.get("pin")
    return pinned(ledger.reader, pin) if pin else ledger.cut(parameters.get("as_of") or None)


def _file_name(answer: Answer) -> str:
    """The title as a name of a file that every system takes."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in answer.title)
    return kept.strip("-")[:80] or "attestory"


def _described(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.about,
        "schema": schema,
    }


def _responses(form: str) -> dict[int | str, dict[str, Any]]:
    if form == HTML:
        return {}
    problem: dict[str, Any] = {
        "content": {
            MEDIA_TYPES[JSON]: {
                "schema": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": {"type": "object"}},
                }
            }
        }
    }
    schema: dict[str, Any] = {"type": "object"} if form == JSON else {"type": "string"}
    good = {"description": "The answer.", "content": {MEDIA_TYPES[form]: {"schema": schema}}}
    words = {
        400: "What was asked is wrong.",
        404: "There is no such thing.",
        409: "The store contradicts itself, or evidence does not hold.",
        503: "The store cannot be reached, or is busy.",
    }
    described: dict[int | str, dict[str, Any]] = {200: good}
    for status, text in words.items():
        described[status] = {"description": text, **problem}
    return described
