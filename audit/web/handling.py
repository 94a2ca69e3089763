"""From a request to a screen's answer, and from the answer to the form that was asked for."""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from difflib import get_close_matches
from urllib.parse import unquote
from uuid import uuid4

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from audit.errors import AuditError, InvalidInput, NotFound, Unavailable, Unproven
from audit.ledger import Ledger
from audit.replay.points import Cut
from audit.web.access import Access
from audit.web.answer import (
    ENCODED,
    MAX_PARAMETER_CHARS,
    Answer,
    Asked,
    Screen,
    address_of_form,
)
from audit.web.api.accept import prefers_json, wants_data
from audit.web.api.problem import PROBLEM_TYPE, problem
from audit.web.forms import CSV, HTML, JSON, MEDIA_TYPES, PARQUET, json_text
from audit.web.guard.asgi import client_of, name_of_visitor
from audit.web.manners import attachment, body_response, file_name, link_header
from audit.web.options import WebOptions
from audit.web.pinned import pin_text, pinned
from audit.web.readers import Readers, ServerEnds
from audit.web.render import page, plain_page
from audit.web.streaming import TableResponse
from audit.web.verifying import Verifying

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
                app.add_api_route(
                    address_of_form(screen, form),
                    self._handler(screen, form),
                    methods=["GET", "HEAD"],
                    include_in_schema=False,
                    response_class=Response,
                )
        app.add_exception_handler(Exception, self.failed)
        app.add_exception_handler(HTTPException, self._no_page)

    def _handler(self, screen: Screen, form: str) -> Callable[[Request], Response]:
        def handle(request: Request) -> Response:
            try:
                wanted = form or (JSON if prefers_json(request.headers.get("accept", "")) else HTML)
                return self._answered(screen, wanted, request)
            except Exception as error:  # a screen's bug must not end as a bare 500
                return self.failed(request, error)

        return handle

    def _answered(self, screen: Screen, form: str, request: Request) -> Response:
        parameters = _parameters(request, screen)
        who = name_of_visitor(request.scope)
        with ExitStack() as held:
            wants_table = form in (CSV, PARQUET)
            client = client_of(request.scope)
            lent = self._readers.lent_for_stream(client) if wants_table else self._readers.lent()
            ledger = held.enter_context(lent)
            try:
                cut = _cut(ledger, parameters)
            except AuditError:
                self._record(screen, form, request, parameters, None)
                raise
            # Before it is answered: that nothing is there, or what fits, is an answer, too.
            self._record(screen, form, request, parameters, cut)
            policy = ledger.policy_file(self._options.policy)
            asked = Asked(
                ledger,
                policy,
                cut,
                screen.path,
                parameters,
                wants_table,
                self._verification,
                wants_data=form == JSON,
            )
            answer = screen.answer(asked)
            # Before the table, which takes the ledger along.
            links = link_header(screen, form, asked, answer)
            if wants_table:
                response = _table(answer, form, request, held)
            else:
                body = (
                    json_text(answer.data)
                    if form == JSON
                    else page(screen, asked, answer, self._menu, who).encode()
                )
                pinned = asked.text("pin") is not None
                response = body_response(request, body, MEDIA_TYPES.get(form, "text/html"), pinned)
            if links:
                response.headers["link"] = links
            return response

    def _record(
        self,
        screen: Screen,
        form: str,
        request: Request,
        parameters: Mapping[str, str],
        cut: Cut | None,
    ) -> None:
        """A look, as an access event. Raises Unavailable where it is refused."""
        if screen.is_recorded:
            pin = "" if cut is None else pin_text(cut)
            path = address_of_form(screen, form)
            self._access.record(name_of_visitor(request.scope), path, parameters, pin)

    def failed(self, request: Request, error: Exception) -> Response:
        """An error as a page or as data, whichever was asked for."""
        status, words = _status(error), str(error)
        if status is None:
            number = uuid4().hex[:12]
            _log.error("%s: %s", number, type(error).__name__, exc_info=error)
            status, words = 500, _BUG.format(number)
        return self._error_in_form(request, status, type(error).__name__, words)

    def _no_page(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status != 405:
            words = "there is no page at this address"
            return self._error_in_form(request, status, "NotFound", words)
        allowed = {"allow": ", ".join(_methods(request))}
        if request.method == "OPTIONS":
            return Response(None, 204, allowed)
        words = f"{request.method} is not for this address: the view is read-only"
        return self._error_in_form(request, status, "", words, allowed)

    def _error_in_form(
        self,
        request: Request,
        status: int,
        kind: str,
        words: str,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        headers = RETRY if status == 503 else headers
        if wants_data(request.scope["path"], request.headers.get("accept", "")):
            return Response(problem(status, words, kind), status, headers, PROBLEM_TYPE)
        body = plain_page("error.html", status=status, words=words, menu=self._menu)
        return Response(body, status, headers, "text/html")


def _table(answer: Answer, form: str, request: Request, held: ExitStack) -> Response:
    """The rows, streamed; of HEAD, what would come before them."""
    if answer.table is None:
        raise InvalidInput("there is no table in this answer")
    name = f"{file_name(answer.title)}{form}"
    if request.method == "HEAD":
        headers = {"content-disposition": attachment(name)}
        response = Response(None, 200, headers, MEDIA_TYPES[form])
        del response.headers["content-length"]
        return response
    # The stream goes on after this function: the ledger stays lent until its end.
    return TableResponse(answer.table, form, name, held.pop_all())


def _methods(request: Request) -> list[str]:
    """What an address can be asked with."""
    found = {"OPTIONS"}
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)


def _status(error: Exception) -> int | None:
    """The HTTP status of an error of ours; None for a bug."""
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, InvalidInput):
        return 400
    if isinstance(error, Unavailable | ServerEnds):
        return 503
    if isinstance(error, Unproven | AuditError):
        return 409
    return None


def _parameters(request: Request, screen: Screen) -> Mapping[str, str]:
    """The address's parameters. Raises InvalidInput for one that the screen does not take."""
    known = {parameter.name: parameter for parameter in screen.taken}
    found: dict[str, str] = {}
    for given, said in request.query_params.multi_items():
        name, value = _decoded(given, said)
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


def _decoded(name: str, value: str) -> tuple[str, str]:
    """A parameter as it is meant, however a form has sent it."""
    if not name.endswith(ENCODED):
        return name, value
    try:
        return name.removesuffix(ENCODED), unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise InvalidInput(f"{name[:80]} is not percent-encoded UTF-8") from None


def _cut(ledger: Ledger, parameters: Mapping[str, str]) -> Cut:
    pin = parameters.get("pin")
    return pinned(ledger.reader, pin) if pin else ledger.cut(parameters.get("as_of") or None)
