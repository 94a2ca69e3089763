"""What checking in the browser needs: an entry's receipt as a file, and schemas by their hash."""

import re
from collections.abc import Callable
from functools import cache

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from audit.errors import AuditError, InvalidInput, NotFound
from audit.event.canonical import BUILTINS, builtin, schema_hash
from audit.web.access import Access
from audit.web.guard.asgi import name_of_visitor
from audit.web.readers import Readers

MAX_POSITION_CHARS = 4_096
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FOR_EVER = "public, max-age=31536000, immutable"


@cache
def schemas_by_digest() -> dict[str, bytes]:
    """SHA-256 -> canonical JSON of the built-in schemas."""
    return {schema_hash(builtin(name)).hex(): builtin(name) for name in BUILTINS}


def digest_of(name: str) -> str:
    """SHA-256 of a built-in schema, as its address has it."""
    return schema_hash(builtin(name)).hex()


def add_receipts(
    app: FastAPI,
    readers: Readers,
    access: Access,
    failed: Callable[[Request, Exception], Response],
) -> None:
    """Add both addresses. `failed` makes the page of an error."""

    def receipt(request: Request) -> Response:
        try:
            at = request.query_params.get("at", "")
            given = [name for name, _ in request.query_params.multi_items()]
            if not 0 < len(at) <= MAX_POSITION_CHARS or given != ["at"]:
                raise InvalidInput("the address has one parameter: at=LOG/INDEX")
            access.record(name_of_visitor(request.scope), "/event/receipt", {"at": at}, "")
            with readers.lent() as ledger:
                record = ledger.entry(at)
                body = ledger.prove(f"{record.log}/{record.index}")
        except AuditError as error:
            return failed(request, error)
        name = f"entry-{record.log}-{record.index}.tlog-proof"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(body, media_type="text/plain; charset=utf-8", headers=headers)

    def schema(request: Request, digest: str) -> Response:
        found = schemas_by_digest().get(digest) if _DIGEST.fullmatch(digest) else None
        if found is None:
            return failed(request, NotFound("no built-in schema has this digest"))
        return Response(found, media_type="application/json", headers={"cache-control": _FOR_EVER})

    for path, handler in (("/event/receipt", receipt), ("/schemas/{digest}", schema)):
        app.add_api_route(path, handler, methods=["GET", "HEAD"], response_class=Response)
