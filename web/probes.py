"""For machines that watch the service: alive, ready, metrics."""

from __future__ import annotations

import ipaddress

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from greenmine.core.user import Role
from greenmine.web.problem import Problem, ProblemError
from greenmine.web.session import BackendDep, find_session

router = APIRouter(include_in_schema=False)


@router.api_route("/healthz", methods=["GET", "HEAD"])
async def healthz() -> Response:
    """The process is alive and its event loop turns."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
def readyz(backend: BackendDep) -> Response:
    """200 when every check is good, else 503 with those that are not and what to do."""
    checks = backend.operations.checks()
    failing = [check._asdict() for check in checks if not check.ok]
    return JSONResponse({"ready": not failing, "failing": failing}, 503 if failing else 200)


@router.get("/metrics")
def metrics(request: Request, backend: BackendDep) -> Response:
    """OpenMetrics, for a scraper on this machine, an admin, or a bearer token."""
    if not _is_local(request):
        session = find_session(request)
        if session is None:
            raise ProblemError(Problem("unauthenticated"))
        if session.csrf and session.user.role is not Role.ADMIN:
            raise ProblemError(Problem("forbidden", "Only an admin may do this.", word="role"))
    body, media_type = backend.operations.metrics_text()
    return Response(body, media_type=media_type)


def _is_local(request: Request) -> bool:
    """From this machine itself, and not through a proxy on it that speaks for others."""
    if "x-forwarded-for" in request.headers or "forwarded" in request.headers or request.client is None:
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
