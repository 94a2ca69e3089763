"""The ASGI application: every screen at its address, in each of its forms."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from audit.web.access import Access
from audit.web.api.document import document
from audit.web.forms import JSON, MEDIA_TYPES, json_text
from audit.web.guard import Guard
from audit.web.guard.hosts import Hosts
from audit.web.guard.limits import Rate
from audit.web.guard.turns import Turns
from audit.web.guard.who import Doorkeeper, Sessions, read_tokens
from audit.web.handling import Handling
from audit.web.lanes import PLACES, lane_of
from audit.web.login import add_login
from audit.web.manners import body_response
from audit.web.options import WebOptions, address_of
from audit.web.readers import Readers
from audit.web.receipts import add_receipts
from audit.web.render import TYPES, prepare, static_file
from audit.web.screens import SCREENS
from audit.web.verifying import Verifying, add_verifying

FOR_EVER = "public, max-age=31536000, immutable"
MAX_THREADS = sum(PLACES.values()) + 2
"""One for each request that has a place, and for what needs none."""


def application(
    options: WebOptions,
    when_fresh: Callable[[], object] = lambda: None,
    is_ending: Callable[[], bool] = lambda: False,
) -> Guard:
    """The view of one ledger. Raises InvalidInput, StoreMissing, Unavailable.

    Close it by ending its lifespan, as servers do. `when_fresh` is called once, on another thread,
    when the read model is first up to its log. `is_ending`: whether the server was told to end.
    """
    options = options.checked()
    readers = Readers(options, is_ending)
    access = Access(options)
    prepare()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Each thread that made a page keeps memory of its own: few threads, flat memory.
        to_thread.current_default_thread_limiter().total_tokens = MAX_THREADS
        readers.keep_fresh(when_fresh)
        try:
            yield
        finally:
            readers.close()
            access.close()

    inner = FastAPI(
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # To an absolute address, made from what the request says of itself.
        redirect_slashes=False,
    )
    doorkeeper = Doorkeeper(
        None if options.tokens is None else read_tokens(options.tokens),
        None if options.proxy is None else address_of(options.proxy),
        options.proxy_header,
        Sessions(time.monotonic),
    )
    verifying = Verifying(options)
    handling = Handling(options, readers, access, verifying, SCREENS)
    handling.add_to(inner)
    add_login(inner, doorkeeper)
    add_receipts(inner, readers, access, handling.failed)
    add_verifying(inner, verifying, access, handling.failed)
    described = json_text(document(SCREENS, options))

    def describe(request: Request) -> Response:
        return body_response(request, described, MEDIA_TYPES[JSON], pinned=False)

    inner.add_api_route("/openapi.json", describe, methods=["GET", "HEAD"])
    inner.add_api_route("/static/{name}", _static, include_in_schema=False, methods=["GET", "HEAD"])
    inner.add_api_route("/healthz", _healthy, include_in_schema=False, methods=["GET", "HEAD"])
    hosts = Hosts(options.host, options.allowed_hosts)
    rate = Rate(options.requests_per_minute, time.monotonic)
    return Guard(inner, hosts, doorkeeper, rate, Turns(PLACES), lane_of)


async def _static(request: Request, name: str) -> Response:
    data = static_file(name)
    if data is None:
        return Response("there is no such file\n", 404, media_type="text/plain")
    kept = FOR_EVER if request.query_params.get("v") else "no-cache"
    media_type = TYPES["." + name.rpartition(".")[2]]
    return Response(data, media_type=media_type, headers={"cache-control": kept})


async def _healthy() -> Any:
    return Response("ok\n", media_type="text/plain")
