"""Around the page: nobody gets in without a session, and no page of another site does anything in one's name."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from comem_memory.errors import AccessError, BusyError, ComemError, TokenError
from comem_memory.server.observer import foreign
from comem_memory.server.problems import answer_to
from comem_memory.ui.sessions import Sessions

PATH = "/ui"
LOGIN = f"{PATH}/login"
ASSETS = f"{PATH}/_nicegui/"
"""Files of NiceGUI, the same for everyone, of which a page takes many; but what is below `client/` is a page's own."""
HEADERS = {
    # Vue compiles templates in the browser, and NiceGUI writes scripts into the page. Nothing goes to another host.
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """An ASGI middleware, which leaves alone what is not the page's.

    Args:
        app: What answers.
        sessions: Who is signed in.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self.app, self.sessions = app, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not f"{scope['path']}/".startswith(f"{PATH}/"):
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        asking = HTTPConnection(scope)
        try:
            if foreign(asking.headers):
                raise AccessError("Pages of other sites do not reach this one.")
            if scope["path"].startswith(ASSETS) and not scope["path"].startswith(f"{ASSETS}client/"):
                self.sessions.token(session_of(asking))
            elif scope["path"] != LOGIN:
                self.sessions.access(session_of(asking))
        except ComemError as error:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await _refusal(error, asking)(scope, receive, sending)
        else:
            await self.app(scope, receive, sending)


def cookie(asking: HTTPConnection) -> str:
    """The name of the session's cookie, which browsers send to every port of a host."""
    return f"comem-{asking.url.port or 'page'}"


def session_of(asking: HTTPConnection) -> str | None:
    """The session that a browser says it has."""
    return asking.cookies.get(cookie(asking))


def _refusal(error: ComemError, asking: HTTPConnection) -> ASGIApp:
    if isinstance(error, TokenError) and "text/html" in asking.headers.get("accept", ""):
        return RedirectResponse(LOGIN, 303)
    if isinstance(error, AccessError | BusyError):
        return answer_to(error)
    return PlainTextResponse(str(error), 401)
