"""Puts the web together: `create_app`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

import greenmine
from greenmine.core.errors import GreenmineError
from greenmine.web import api, api_acts, api_devices, assets, page_alerts, page_login, pages, probes, stream
from greenmine.web.backend import Backend
from greenmine.web.boundary import Boundary
from greenmine.web.problem import ProblemError, on_greenmine_error, on_http_exception, on_invalid_request, on_problem
from greenmine.web.session import NeedsLogin, api_session, page_session


def create_app(
    backend: Backend, *, allowed_hosts: Sequence[str], secure_cookies: bool, heartbeat_s: float = 5.0
) -> FastAPI:
    """The web application over a backend.

    Args:
        allowed_hosts: host names (without port) that may stand in `Host`; others get 400.
        secure_cookies: whether people come by https; then the cookie is `__Host-` and never sent in the clear.
        heartbeat_s: how often a watching browser is told that all is well.

    `app.state.hub.close()`, from any thread, ends the live streams; call it before stopping the server, which
    otherwise waits for its watchers.
    """
    assets.own_assets()
    assets.plotly_bundle()
    app = FastAPI(
        title="Greenmine",
        version=greenmine.__version__,
        description="Environmental monitoring of mines. Log in for a cookie (writes then need `X-CSRF-Token`), or send "
        "`Authorization: Bearer`. Errors are RFC 9457 problem documents.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        redirect_slashes=False,
    )
    app.state.backend = backend
    app.state.secure_cookies = secure_cookies
    app.state.hub = stream.LiveHub(heartbeat_s)
    for room in (api, api_acts, api_devices, stream):
        app.include_router(room.router, prefix="/api/v1", dependencies=[Depends(api_session)])
    for open_to_all in (probes, assets, page_login):
        app.include_router(open_to_all.router)
    for page in (pages, page_alerts):
        app.include_router(page.router, dependencies=[Depends(page_session)])
    app.add_exception_handler(ProblemError, on_problem)
    app.add_exception_handler(GreenmineError, on_greenmine_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_invalid_request)
    app.add_exception_handler(NeedsLogin, _to_login)
    app.add_middleware(Boundary, allowed_hosts=list(allowed_hosts))
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    hub: stream.LiveHub = app.state.hub
    backend: Backend = app.state.backend
    hub.start()
    unsubscribe = backend.desk.subscribe(hub.on_changes, hub.wants)
    try:
        yield
    finally:
        unsubscribe()
        hub.close()


async def _to_login(_: Request, error: Exception) -> Response:
    assert isinstance(error, NeedsLogin)
    return RedirectResponse(error.location, 303)
