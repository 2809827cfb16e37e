"""Errors as answers: RFC 9457 problem documents for programs, a page for people, both in Chinese and English."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from greenmine.core.errors import Conflict, GreenmineError, NotFound, Refused, StoreUnavailable, UserError
from greenmine.web.language import language_of
from greenmine.web.render import render_error

PROBLEM_JSON = "application/problem+json"


class _Kind(NamedTuple):
    status: int
    zh: str
    en: str


KINDS: dict[str, _Kind] = {
    "malformed": _Kind(400, "请求无法解析", "The request cannot be read"),
    "host": _Kind(400, "不接受这个主机名", "This host name is not served"),
    "unauthenticated": _Kind(401, "请先登录", "Log in first"),
    "forbidden": _Kind(403, "没有权限进行这项操作", "You may not do this"),
    "csrf": _Kind(
        403,
        "页面已过期或请求来自别处，请刷新页面后重试",
        "The page is out of date or the request came from elsewhere; reload and try again",
    ),
    "password_change_required": _Kind(403, "请先修改密码", "Change your password first"),
    "not_found": _Kind(404, "找不到所请求的内容", "There is no such thing here"),
    "method": _Kind(405, "不支持这种请求方法", "This method is not supported here"),
    "conflict": _Kind(409, "与当前状态不符，操作没有执行", "This does not fit the present state; nothing was done"),
    "too_large": _Kind(413, "请求内容超过 1 MiB", "The request is larger than 1 MiB"),
    "invalid": _Kind(422, "请求内容有误", "The request has an error"),
    "locked": _Kind(
        429, "登录失败次数过多，账号已暂时锁定，请稍后再试", "Too many failed logins; the account is locked for a while"
    ),
    "internal": _Kind(500, "系统内部错误，已记录", "Something went wrong here and has been recorded"),
    "unavailable": _Kind(503, "暂时无法完成，请稍后重试", "This cannot be done right now; try again shortly"),
}
_BY_STATUS = {400: "malformed", 401: "unauthenticated", 403: "forbidden", 404: "not_found", 405: "method",
              413: "too_large", 422: "invalid", 503: "unavailable"}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One refused or failed request. `kind` is a key of KINDS, `word` a finer machine-readable word, `detail` says
    what and where, `instance` is an id under which the log has more."""

    kind: str
    detail: str = ""
    word: str = ""
    instance: str = ""
    errors: list[dict[str, str]] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.kind].status

    def to_json(self) -> dict[str, object]:
        """The problem document; `title` is English, `title_zh` Chinese."""
        kind = KINDS[self.kind]
        document: dict[str, object] = {
            "type": f"urn:greenmine:problem:{self.word or self.kind}",
            "title": kind.en,
            "title_zh": kind.zh,
            "status": kind.status,
        }
        if self.detail:
            document["detail"] = self.detail
        if self.instance:
            document["instance"] = f"urn:greenmine:error:{self.instance}"
        if self.errors:
            document["errors"] = self.errors
        return document


class ProblemError(Exception):
    """Raised inside the web to answer with a problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.kind)


def wants_json(request: Request) -> bool:
    """Whether the caller is a program: the API, the probes, and fragments that a page fetches by itself."""
    return request.url.path.startswith(("/api/", "/healthz", "/readyz", "/metrics")) or "part" in request.query_params


def problem_response(request: Request, problem: Problem) -> Response:
    """The problem as the caller can read it."""
    headers = dict(problem.headers)
    if problem.status == 401:
        headers.setdefault("www-authenticate", "Bearer")
    if wants_json(request):
        return JSONResponse(problem.to_json(), problem.status, headers, PROBLEM_JSON)
    language = language_of(request)
    kind = KINDS[problem.kind]
    title = kind.zh if language == "zh" else kind.en
    return render_error(request, problem.status, title, problem.detail, problem.instance, headers)


def problem_of(error: GreenmineError) -> Problem:
    """The problem that one of our own errors is."""
    if isinstance(error, NotFound):
        return Problem("not_found", str(error))
    if isinstance(error, Conflict):
        return Problem("conflict", str(error))
    if isinstance(error, Refused):
        kind = "locked" if error.word == "locked" else "invalid"
        return Problem(kind, error.detail or error.word, word=error.word)
    if isinstance(error, UserError):
        return Problem("invalid", str(error))
    if isinstance(error, StoreUnavailable):
        retry_s = 5 if error.retry_after_s is None else max(1, round(error.retry_after_s))
        return Problem("unavailable", str(error), headers={"retry-after": str(retry_s)})
    # A Corrupt store is for the operator: let the boundary record it under an id.
    raise error


async def on_problem(request: Request, error: Exception) -> Response:
    """Handler for ProblemError."""
    assert isinstance(error, ProblemError)
    return problem_response(request, error.problem)


async def on_greenmine_error(request: Request, error: Exception) -> Response:
    """Handler for the error tree."""
    assert isinstance(error, GreenmineError)
    return problem_response(request, problem_of(error))


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Handler for what FastAPI and Starlette raise themselves."""
    assert isinstance(error, HTTPException)
    kind = _BY_STATUS.get(error.status_code, "malformed" if error.status_code < 500 else "internal")
    return problem_response(request, Problem(kind, headers=dict(error.headers or {})))


async def on_invalid_request(request: Request, error: Exception) -> Response:
    """Handler for parameters and bodies that do not fit: 400 where it is not even JSON, else 422 with each place."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        return problem_response(request, Problem("malformed", "The body is not valid JSON."))
    errors = [
        {"where": ".".join(str(part) for part in item["loc"])[:200], "message": str(item["msg"])[:500]}
        for item in found[:20]
    ]
    detail = "; ".join(f"{item['where']}: {item['message']}" for item in errors)
    return problem_response(request, Problem("invalid", detail, errors=errors))
