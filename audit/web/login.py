"""The way in for browsers: a token is shown once, and a cookie stands for it from then on."""

from urllib.parse import parse_qs

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from audit.web.guard.asgi import LOGIN
from audit.web.guard.who import COOKIE, SESSION_SECONDS, Doorkeeper
from audit.web.render import plain_page

SEE_OTHER = 303


def add_login(app: FastAPI, doorkeeper: Doorkeeper) -> None:
    """Add the page that asks for a token, and the button that ends a session."""
    if not doorkeeper.takes_tokens:
        return

    def ask() -> Response:
        return Response(plain_page("login.html", wrong=False, menu=()), media_type="text/html")

    async def show(request: Request) -> Response:
        fields = parse_qs((await request.body()).decode("utf-8", "replace"))
        name = doorkeeper.token_name(fields.get("token", [""])[0].strip())
        if name is None:
            body = plain_page("login.html", wrong=True, menu=())
            return Response(body, 403, media_type="text/html")
        answer = RedirectResponse("/", SEE_OTHER)
        answer.set_cookie(
            COOKIE,
            doorkeeper.sessions.begin(name),
            max_age=SESSION_SECONDS,
            # What the browser sees: the proxy in front that speaks TLS speaks plain HTTP to us.
            secure=request.headers.get("origin", "").startswith("https://"),
            httponly=True,
            samesite="strict",
        )
        return answer

    def leave(request: Request) -> Response:
        doorkeeper.sessions.end(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse(LOGIN, SEE_OTHER)
        answer.delete_cookie(COOKIE)
        return answer

    app.add_api_route(LOGIN, ask, methods=["GET"], include_in_schema=False)
    app.add_api_route(LOGIN, show, methods=["POST"], include_in_schema=False)
    app.add_api_route("/logout", leave, methods=["POST"], include_in_schema=False)
