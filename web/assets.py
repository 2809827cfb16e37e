"""Static files: our own from `static/`, and the plotly.js that the `plotly` wheel ships. Names carry a digest, so
that browsers keep them for a year and still never mix two versions. The only file that knows of plotly."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import re
import threading
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from greenmine.core.errors import ConfigError

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_FOREVER = "public, max-age=31536000, immutable"
_STYLE_ID = re.compile(r'getElementById\("([0-9a-f]{40,64})"\)')

router = APIRouter(include_in_schema=False)


class Asset(NamedTuple):
    """A file in memory, plain and packed."""

    body: bytes
    packed: bytes
    media_type: str


class PlotlyBundle(NamedTuple):
    """plotly.js and the ids of the style elements it makes on loading unless elements of these ids are there."""

    body: bytes
    style_ids: list[str]
    version: str


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


@lru_cache(maxsize=1)
def own_assets() -> tuple[str, dict[str, Asset]]:
    """The version of our own files as a whole, and the files by name."""
    folder = Path(__file__).parent / "static"
    files = {path.name: path for path in sorted(folder.iterdir()) if path.suffix in _TYPES}
    assets = {}
    for name, path in files.items():
        body = path.read_bytes()
        assets[name] = Asset(body, gzip.compress(body, 6, mtime=0), _TYPES[path.suffix])
    return _digest(*(asset.body for asset in assets.values())), assets


@lru_cache(maxsize=1)
def plotly_bundle() -> PlotlyBundle:
    """plotly.js from the wheel, without importing the package.

    Raises:
        ConfigError: the wheel is not installed or has no such file.
    """
    spec = importlib.util.find_spec("plotly")
    places = list(spec.submodule_search_locations or ()) if spec else []
    path = next((p for place in places if (p := Path(place) / "package_data" / "plotly.min.js").is_file()), None)
    if path is None:
        raise ConfigError("plotly.min.js is missing: install the plotly package as requirements.lock names it")
    body = path.read_bytes()
    ids = sorted(set(_STYLE_ID.findall(body.decode("utf-8"))))
    return PlotlyBundle(body, ids, _digest(body))


class _Packed:
    """The bundle packed once, by whoever asks first: 4.8 MB take a third of a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._packed: bytes | None = None

    def get(self) -> bytes:
        with self._lock:
            if self._packed is None:
                self._packed = gzip.compress(plotly_bundle().body, 6, mtime=0)
            return self._packed


_packed_plotly = _Packed()


def asset_path(name: str) -> str:
    """URL path of one of our own files."""
    return f"/static/{own_assets()[0]}/{name}"


def plotly_style_ids() -> list[str]:
    """Ids that a page with charts gives to placeholders, so that plotly.js makes no style element of its own."""
    return plotly_bundle().style_ids


def plotly_path() -> str:
    """URL path of plotly.js."""
    return f"/static/plotly-{plotly_bundle().version}.min.js"


@router.get("/static/plotly-{version}.min.js")
def plotly_js(request: Request, version: str) -> Response:
    """plotly.js of the installed wheel."""
    bundle = plotly_bundle()
    if version != bundle.version:
        raise HTTPException(404)
    if _takes_gzip(request):
        return _answer(_packed_plotly.get(), _TYPES[".js"], packed=True)
    return _answer(bundle.body, _TYPES[".js"], packed=False)


@router.get("/static/{version}/{name}")
def own_file(request: Request, version: str, name: str) -> Response:
    """One of our own files; another version's name is not found rather than answered wrongly."""
    current, assets = own_assets()
    asset = assets.get(name)
    if asset is None or version != current:
        raise HTTPException(404)
    packed = _takes_gzip(request)
    return _answer(asset.packed if packed else asset.body, asset.media_type, packed)


@router.get("/favicon.ico")
def favicon() -> Response:
    """The icon that browsers ask for unasked."""
    asset = own_assets()[1]["icon.svg"]
    return Response(asset.body, media_type=asset.media_type, headers={"cache-control": "public, max-age=86400"})


def _takes_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")


def _answer(body: bytes, media_type: str, packed: bool) -> Response:
    headers = {"cache-control": _FOREVER, "vary": "accept-encoding"}
    if packed:
        headers["content-encoding"] = "gzip"
    return Response(body, media_type=media_type, headers=headers)
