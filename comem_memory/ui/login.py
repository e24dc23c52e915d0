"""Signing in: a token becomes a cookie."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from comem_memory.errors import TokenError
from comem_memory.ui.guard import LOGIN, PATH, cookie
from comem_memory.ui.sessions import Sessions

_FORM = """<!doctype html><html lang="en"><head><title>comem</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
form { max-width: 22rem; margin: 20vh auto; padding: 0 1rem; display: grid; gap: .75rem }
input, button { font: inherit; padding: .5rem .75rem; border-radius: .5rem; border: 1px solid #8888 }
button { background: #4f46e5; color: white; border: 0; cursor: pointer }
</style></head><body><form method="post"><b>comem</b><label for="token">%s</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Sign in</button></form></body></html>"""


def login_routes(sessions: Sessions) -> APIRouter:
    """A form for a token, and a link that holds one.

    Args:
        sessions: Where who signs in is noted.
    """
    router = APIRouter(include_in_schema=False)

    def signed_in(request: Request, token: str) -> Response:
        try:
            name = sessions.begin(token)
        except TokenError:
            return HTMLResponse(_FORM % "This token is unknown here, or was used. Your token:", 401)
        answer = RedirectResponse(f"{PATH}/", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(cookie(request), name, path=PATH, httponly=True, samesite="strict", secure=secure)
        return answer

    @router.get(LOGIN)
    async def form(request: Request, token: str | None = None) -> Response:
        # A link on another site must not sign anyone in: they would write into a memory that is not theirs.
        if token is None or request.headers.get("sec-fetch-site") == "cross-site":
            return HTMLResponse(_FORM % "Your token, as <code>comem token</code> printed it:")
        return signed_in(request, token)

    @router.post(LOGIN)
    async def sent(request: Request, token: Annotated[str, Form()]) -> Response:
        return signed_in(request, token)

    return router
