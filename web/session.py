"""Who is asking: the session cookie or a bearer token, the anti-forgery token, and what a role may do."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, NamedTuple
from urllib.parse import quote, urlsplit

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from greenmine.core.principal import Principal, PrincipalKind
from greenmine.core.user import Role, User
from greenmine.web.backend import Backend
from greenmine.web.problem import Problem, ProblemError, wants_json

CSRF_HEADER = "x-csrf-token"
_COOKIE = "greenmine_session"


class Session(NamedTuple):
    """A request's user. `csrf` is empty for a bearer, whose token no browser sends by itself."""

    user: User
    token: str
    csrf: str

    @property
    def principal(self) -> str:
        """The person, as acts and the audit log name him."""
        return str(Principal(PrincipalKind.PERSON, self.user.name))


class NeedsLogin(Exception):
    """A page was asked for without a session; `next` is where to go after the login."""

    def __init__(self, next_path: str, location: str = "/login") -> None:
        self.location = location if location != "/login" else f"/login?next={quote(next_path, safe='')}"
        super().__init__(self.location)


def backend_of(request: Request) -> Backend:
    """The backend that `create_app` was given."""
    backend: Backend = request.app.state.backend
    return backend


def cookie_name(secure: bool) -> str:
    """With `secure` the browser itself refuses the cookie from plain http and for other paths or domains."""
    return f"__Host-{_COOKIE}" if secure else _COOKIE


def set_session_cookie(request: Request, response: Response, token: str) -> None:
    """Hand a new session to the browser."""
    secure = request.app.state.secure_cookies
    response.set_cookie(cookie_name(secure), token, path="/", httponly=True, samesite="lax", secure=secure)


def clear_session_cookie(request: Request, response: Response) -> None:
    """Take the session from the browser."""
    secure = request.app.state.secure_cookies
    response.delete_cookie(cookie_name(secure), path="/", httponly=True, samesite="lax", secure=secure)


def cookie_token(request: Request) -> str:
    """The token in the session cookie, or ''."""
    return request.cookies.get(cookie_name(request.app.state.secure_cookies), "")


def csrf_token(token: str) -> str:
    """The anti-forgery token of a session: known to who knows the session, and tells nothing about it."""
    return hmac.new(token.encode(), b"greenmine csrf", hashlib.sha256).hexdigest()


def find_session(request: Request) -> Session | None:
    """The live session of a request, by bearer token if one is given, else by cookie."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    logins = backend_of(request).logins
    if scheme:
        if scheme.lower() != "bearer" or not bearer.strip():
            return None
        user = logins.session_user(bearer.strip())
        return Session(user, bearer.strip(), "") if user else None
    token = cookie_token(request)
    user = logins.session_user(token) if token else None
    return Session(user, token, csrf_token(token)) if user else None


def api_session(request: Request) -> Session:
    """The session of an API call; a write by cookie must carry the anti-forgery token.

    Raises:
        ProblemError: no live session, a password still to be changed, or a missing token.
    """
    session = find_session(request)
    if session is None:
        raise ProblemError(Problem("unauthenticated"))
    request.state.session = session
    if session.user.must_change_password:
        raise ProblemError(Problem("password_change_required"))
    if request.method == "POST" and session.csrf:
        check_origin(request)
        check_csrf(session, request.headers.get(CSRF_HEADER, ""))
    return session


def page_session(request: Request) -> Session:
    """The session of a page; without one the person is sent to log in (a fragment gets 401).

    Raises:
        NeedsLogin: no live session, or a password still to be changed.
        ProblemError: the same, for a fragment that a page fetches.
    """
    session = find_session(request)
    if session is None:
        if wants_json(request):
            raise ProblemError(Problem("unauthenticated"))
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        raise NeedsLogin(here if request.method == "GET" else "/")
    request.state.session = session
    if session.user.must_change_password and request.url.path not in ("/password", "/logout"):
        raise NeedsLogin("/", "/password")
    return session


def acting_session(session: Session) -> Session:
    """The session, if its role may act.

    Raises:
        ProblemError: a viewer.
    """
    if not session.user.role.may_act:
        raise ProblemError(Problem("forbidden", "Your role may look but not act.", word="role"))
    return session


def admin_session(session: Session) -> Session:
    """The session, if it is an admin's.

    Raises:
        ProblemError: anybody else.
    """
    if session.user.role is not Role.ADMIN:
        raise ProblemError(Problem("forbidden", "Only an admin may do this.", word="role"))
    return session


def check_origin(request: Request) -> None:
    """Refuse a form that another site sent.

    Raises:
        ProblemError: the browser names another origin.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower():
        raise ProblemError(Problem("csrf", "The Origin of this request is another site."))
    if origin is None and request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise ProblemError(Problem("csrf", "This request comes from another site."))


def check_csrf(session: Session, given: str) -> None:
    """Refuse a write that does not carry the session's anti-forgery token.

    Raises:
        ProblemError: missing or wrong.
    """
    if not hmac.compare_digest(given.encode(), session.csrf.encode()):
        raise ProblemError(
            Problem("csrf", f"Send the page's token in the form field csrf or the header {CSRF_HEADER}.")
        )


def local_path(text: str | None) -> str:
    """`text` if it is a path of this site, else `/`: nobody is redirected elsewhere."""
    if not text or len(text) > 2000 or not text.startswith("/") or text.startswith("//"):
        return "/"
    if "\\" in text or any(ord(char) < 0x21 for char in text):
        return "/"
    parts = urlsplit(text)
    return "/" if parts.scheme or parts.netloc else text


BackendDep = Annotated[Backend, Depends(backend_of)]
ApiSession = Annotated[Session, Depends(api_session)]
PageSession = Annotated[Session, Depends(page_session)]


def api_actor(session: ApiSession) -> Session:
    """An API session that may act."""
    return acting_session(session)


def api_admin(session: ApiSession) -> Session:
    """An API session of an admin."""
    return admin_session(session)


ApiActor = Annotated[Session, Depends(api_actor)]
ApiAdmin = Annotated[Session, Depends(api_admin)]
