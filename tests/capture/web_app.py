"""A small web application whose requests emit events, for the tests of the middlewares."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

import audit
from audit.capture.emitter import Emitter


def make_app(emit: Emitter, **options: Any) -> Any:
    """FastAPI; every path that is asked for says so in an event whose key is the path."""
    app = FastAPI()

    def say(key: str) -> None:
        emit.create("seen", key, {})

    def user_in_pool(request: Request) -> None:
        audit.identify(request.headers["who"])

    @app.get("/plain/{n}")
    async def plain(n: int) -> None:
        await asyncio.sleep(0.001 * (n % 3))
        say(f"plain/{n}")

    @app.get("/pool/{n}")
    def pool(n: int, _: Annotated[None, Depends(user_in_pool)], later: BackgroundTasks) -> None:
        say(f"pool/{n}")
        later.add_task(say, f"pool/{n}/background")

    @app.get("/task")
    async def task(request: Request) -> None:
        request.state.user = "tess"

        async def after() -> None:
            await asyncio.sleep(0.05)
            say("task/after")

        app.state.running = asyncio.create_task(after())
        say("task")

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for n in range(3):
                await asyncio.sleep(0.001)
                say(f"stream/{n}")
                yield b"piece\n"

        return StreamingResponse(pieces())

    @app.get("/broken")
    async def broken() -> None:
        say("broken")
        raise ZeroDivisionError

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()
        say("socket")
        await socket.close()

    app.add_middleware(audit.AsgiMiddleware, **options)
    return app
