"""The page as a part of a server's app."""

from __future__ import annotations

import nicegui
from fastapi import FastAPI, Request
from nicegui import ui

from comem_memory.server.served import Served
from comem_memory.ui.guard import PATH, Guard, session_of
from comem_memory.ui.login import login_routes
from comem_memory.ui.page import Page
from comem_memory.ui.pictures import picture_routes
from comem_memory.ui.recordings import recording_routes
from comem_memory.ui.sessions import Sessions
from comem_memory.ui.visitor import Visitor


def mount(app: FastAPI) -> Sessions:
    """Adds the page to an app, below `PATH`; NiceGUI takes one app in a process.

    Args:
        app: What `create_app` made.

    Returns:
        Who is signed in, which makes codes for links.
    """
    served: Served = app.state.served
    sessions = Sessions(served)
    for routes in (login_routes(sessions), picture_routes(sessions), recording_routes(sessions)):
        app.include_router(routes, max_body_size=served.settings.max_body_bytes)

    @ui.page("/", title="comem", dark=None)
    def page(request: Request) -> None:
        visitor = Visitor(sessions, session_of(request), ui.context.client)
        visitor.namespace = visitor.access.default(served.memory.name)
        ui.timer(0, Page(visitor).refresh, once=True)  # the page is there before the store is asked

    app.add_middleware(Guard, sessions=sessions)
    nicegui.app.max_body_size = served.settings.max_body_bytes  # a mounted app has a limit of its own
    ui.run_with(app, mount_path=PATH, tailwind=False, binding_refresh_interval=None, show_welcome_message=False)
    return sessions
