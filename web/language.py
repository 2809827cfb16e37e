"""Which language a person is shown: `?lang=`, else the cookie, else what the browser asks for, else Chinese."""

from __future__ import annotations

from typing import Literal
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.types import Scope

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")
DEFAULT: Language = "zh"
COOKIE = "greenmine_lang"


def language_of(request: Request) -> Language:
    """The language of this request."""
    for choice in (request.query_params.get("lang"), request.cookies.get(COOKIE)):
        if choice in LANGUAGES:
            return choice
    return preferred(request.headers.get("accept-language", ""))


def language_cookie(scope: Scope) -> str:
    """The Set-Cookie value that remembers a page's `?lang=`; empty where there is none, and for the API."""
    if b"lang=" not in scope["query_string"] or scope["path"].startswith("/api/"):
        return ""
    choice = parse_qs(scope["query_string"].decode("latin-1")).get("lang", [""])[0]
    return f"{COOKIE}={choice}; Path=/; Max-Age=31536000; SameSite=Lax" if choice in LANGUAGES else ""


def preferred(accept: str) -> Language:
    """The best of our languages for an Accept-Language header; Chinese where none fits."""
    best: tuple[float, Language] | None = None
    for part in accept[:500].split(","):
        tag, _, parameters = part.strip().partition(";")
        language = tag.strip().lower().split("-")[0]
        weight = _weight(parameters)
        if language in LANGUAGES and weight > 0 and (best is None or weight > best[0]):
            best = (weight, language)
    return best[1] if best else DEFAULT


def _weight(parameters: str) -> float:
    name, _, number = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(number)
    except ValueError:
        return 0.0
