"""Logging in and out, and changing one's password."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from greenmine.core.errors import Refused
from greenmine.web.backend import Backend
from greenmine.web.render import render, ui_of
from greenmine.web.session import (
    BackendDep,
    PageSession,
    check_csrf,
    check_origin,
    clear_session_cookie,
    cookie_token,
    find_session,
    local_path,
    page_session,
    set_session_cookie,
)

router = APIRouter(include_in_schema=False)

Name = Annotated[str, Form(max_length=200)]
Password = Annotated[str, Form(max_length=1000)]


@router.get("/login")
def login_page(
    request: Request,
    backend: BackendDep,
    next_: Annotated[str, Query(alias="next", max_length=2000)] = "/",
) -> Response:
    """The form; who is logged in already goes on."""
    session = find_session(request)
    if session is not None:
        return RedirectResponse(local_path(next_), 303)
    return _login_page(request, backend, next_)


@router.post("/login")
def log_in(
    request: Request,
    backend: BackendDep,
    name: Name = "",
    password: Password = "",
    next_: Annotated[str, Form(alias="next", max_length=2000)] = "/",
) -> Response:
    """A session of its own for every login: whatever cookie came with the request is ended, never taken over."""
    check_origin(request)
    address = request.client.host if request.client else ""
    try:
        user, token = backend.logins.log_in(name, password, address)
    except Refused as error:
        locked = error.word == "locked"
        message = "login.locked" if locked else "login.refused"
        return _login_page(request, backend, next_, message, name, 429 if locked else 401)
    old = cookie_token(request)
    if old:
        backend.logins.log_out(old)
    response = RedirectResponse("/password" if user.must_change_password else local_path(next_), 303)
    set_session_cookie(request, response, token)
    return response


@router.post("/logout")
def log_out(
    request: Request, backend: BackendDep, session: PageSession, csrf: Annotated[str, Form(max_length=200)] = ""
) -> Response:
    """End the session; its cookie is worth nothing from now on."""
    check_origin(request)
    check_csrf(session, csrf)
    backend.logins.log_out(session.token)
    response = RedirectResponse("/login?said=logged_out", 303)
    clear_session_cookie(request, response)
    return response


@router.get("/password", dependencies=[Depends(page_session)])
def password_page(request: Request, backend: BackendDep) -> Response:
    """The form."""
    return _password_page(request, backend)


@router.post("/password")
def change_password(
    request: Request,
    backend: BackendDep,
    session: PageSession,
    old: Password = "",
    new: Password = "",
    again: Password = "",
    csrf: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Change it, and go on with a new session."""
    check_origin(request)
    check_csrf(session, csrf)
    if new != again:
        return _password_page(request, backend, "password.differ")
    try:
        backend.logins.change_password(session.user.name, old, new)
    except Refused as error:
        return _password_page(request, backend, "password.weak" if error.word == "weak" else "password.wrong")
    address = request.client.host if request.client else ""
    _, token = backend.logins.log_in(session.user.name, new, address)
    backend.logins.log_out(session.token)
    response = RedirectResponse("/?said=password", 303)
    set_session_cookie(request, response, token)
    return response


def _login_page(
    request: Request, backend: Backend, next_path: str, message: str = "", name: str = "", status: int = 200
) -> Response:
    ui = ui_of(request, backend.clock.wall_ns())
    said = "login.logged_out" if request.query_params.get("said") == "logged_out" and not message else ""
    names = {"next": local_path(next_path), "message": message, "name": name, "said": said}
    return render("login.html", ui, names, status)


def _password_page(request: Request, backend: Backend, message: str = "") -> Response:
    ui = ui_of(request, backend.clock.wall_ns())
    return render("password.html", ui, {"message": message}, 422 if message else 200)
