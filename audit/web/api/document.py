"""The whole API as OpenAPI 3.1: made from the screens, their parameters and shapes."""

from collections.abc import Iterable
from typing import Any

from audit import __version__
from audit.web.answer import Screen, address_of_form
from audit.web.api.answers import ANSWERS, TAGS, TRUST
from audit.web.api.parameters import described
from audit.web.api.problem import PROBLEM_TYPE, Problem
from audit.web.api.shape import Shapes
from audit.web.api.words import VALUE
from audit.web.forms import CSV, JSON, MEDIA_TYPES, PARQUET
from audit.web.guard.who import COOKIE
from audit.web.options import WebOptions

BEARER, SESSION, PROXY = "token", "session", "proxy"

_ABOUT = """A ledger, read-only: what every page of the view says, as data.

Every page has a `.json` twin; those with a table have `.csv` and `.parquet`, whole and streamed.
`as_of` asks about the past; `pin` gives the same answer whatever is recorded later, and each
answer names its permalink in `Link: <...>; rel="canonical"`. Pages go on with `rel="next"`.
"""
_ERRORS = {
    400: "What was asked is wrong.",
    401: "Say who you are.",
    404: "There is no such thing.",
    409: "The store contradicts itself, or evidence does not hold.",
    414: "The address is too long.",
    429: "Too many requests; `Retry-After` says when to come back.",
    503: "The store cannot be reached, or is busy; `Retry-After` says when to come back.",
}
_HEADERS = {
    "Link": {
        "description": 'Permalink (rel="canonical") and the page that follows (rel="next").',
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "Ask again with If-None-Match: 304 where nothing is different.",
        "schema": {"type": "string"},
    },
}


def document(screens: Iterable[Screen], options: WebOptions) -> dict[str, Any]:
    """The OpenAPI document of a view."""
    shapes = Shapes()
    paths: dict[str, Any] = {}
    for screen in screens:
        for form in (JSON, CSV, PARQUET) if screen.tabular else (JSON,):
            paths[address_of_form(screen, form)] = {"get": _operation(screen, form, shapes)}
    paths |= _others()
    shapes.schema(Problem)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Attestory", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/", "description": "The server that this document is from."}],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "security": _security(options),
        "paths": paths,
        "components": {
            "schemas": {"Value": VALUE, **dict(sorted(shapes.named.items()))},
            "responses": {str(status): _error(words) for status, words in _ERRORS.items()},
            "securitySchemes": _schemes(options),
        },
    }


def _operation(screen: Screen, form: str, shapes: Shapes) -> dict[str, Any]:
    name = screen.path.strip("/") or "overview"
    known = ANSWERS[screen.path]
    good: dict[str, Any] = {
        "description": "The answer.",
        "content": {MEDIA_TYPES[form].partition(";")[0]: {"schema": _body(form, screen, shapes)}},
    }
    if form == JSON:
        good["headers"] = _HEADERS
    return {
        "operationId": f"get_{name}{form.replace('.', '_') if form != JSON else ''}",
        "summary": screen.about,
        "tags": [known.tag],
        "parameters": [described(one) for one in screen.taken],
        "responses": {"200": good, **_refusals()},
    }


def _body(form: str, screen: Screen, shapes: Shapes) -> dict[str, Any]:
    if form == JSON:
        return shapes.schema(ANSWERS[screen.path].shape)
    if form == CSV:
        return {
            "type": "string",
            "description": "RFC 4180, UTF-8, a line of names first. A text that a spreadsheet "
            "would take for a formula has a ' in front.",
        }
    return {"type": "string", "contentMediaType": MEDIA_TYPES[PARQUET]}


def _refusals() -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in _ERRORS}


def _error(words: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": words, "content": {PROBLEM_TYPE: {"schema": schema}}}


def _others() -> dict[str, Any]:
    """What is no screen: receipts, and the schemas that they are read with."""
    position = {
        "name": "at",
        "in": "query",
        "required": True,
        "description": "Its position: LOG/INDEX, sha256:HEX, an event id, HEAD~3.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 4096},
        "example": "0/42",
    }
    digest = {
        "name": "digest",
        "in": "path",
        "required": True,
        "description": "SHA-256 of the schema, in hex.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    }
    receipt = {
        "operationId": "get_receipt",
        "summary": "The receipt of an entry: C2SP tlog-proof, which `audit verify` checks offline.",
        "tags": [TRUST],
        "parameters": [position],
        "responses": {
            "200": {
                "description": "The receipt.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            **_refusals(),
        },
    }
    schema = {
        "operationId": "get_schema",
        "summary": "A built-in Avro schema by its digest: what entries and payloads are read with.",
        "tags": [TRUST],
        "parameters": [digest],
        "responses": {
            "200": {
                "description": "The schema in its canonical form.",
                "content": {"application/json": {"schema": {"description": "Apache Avro."}}},
            },
            **_refusals(),
        },
    }
    return {"/event/receipt": {"get": receipt}, "/schemas/{digest}": {"get": schema}}


def _schemes(options: WebOptions) -> dict[str, Any]:
    return {
        BEARER: {
            "type": "http",
            "scheme": "bearer",
            "description": "A token of `audit serve --new-token NAME`; asked for with --tokens.",
        },
        SESSION: {
            "type": "apiKey",
            "in": "cookie",
            "name": COOKIE,
            "description": "What a browser gets for a token at /login.",
        },
        PROXY: {
            "type": "apiKey",
            "in": "header",
            "name": options.proxy_header,
            "description": "Who asks, as the proxy of --trusted-proxy says; of no one else.",
        },
    }


def _security(options: WebOptions) -> list[dict[str, list[str]]]:
    """One of these is needed; on this machine alone, without either option, nothing is."""
    names = [BEARER, SESSION] if options.tokens is not None else []
    names += [PROXY] if options.proxy is not None else []
    return [{name: []} for name in names]
