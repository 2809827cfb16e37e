"""Serves the board from a thread of this process."""

from __future__ import annotations

import socket
import threading

import uvicorn

from greenmine.core.errors import ConfigError
from greenmine.settings import WebSettings
from greenmine.web.app import create_app
from greenmine.web.backend import Backend

STOP_TIMEOUT_S = 5


class WebServer:
    """uvicorn on a socket that is bound before `start` returns.

    Raises (from `start`):
        ConfigError: the address cannot be bound.
    """

    def __init__(self, backend: Backend, settings: WebSettings) -> None:
        self._settings = settings
        # This machine's own names too: the command line and health checks come by them. A page from elsewhere that was
        # led to this address has another name in its requests.
        hosts = [*settings.allowed_hosts, settings.host, "127.0.0.1", "localhost", "::1"]
        self._app = create_app(backend, allowed_hosts=hosts, secure_cookies=settings.secure_cookies)
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._socket: socket.socket | None = None
        self.url = ""

    def start(self) -> None:
        """Bind and serve."""
        host, port = self._settings.host, self._settings.port
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise ConfigError(
                f"the board cannot listen on {host}:{port}: {error.strerror}; choose another port (web.port)"
            ) from error
        port = self._socket.getsockname()[1]
        local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        shown = f"[{local}]" if ":" in local else local
        self.url = f"http://{shown}:{port}"
        self._thread.start()

    def stop(self) -> None:
        """End the live streams, then the server."""
        self._app.state.hub.close()
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        assert self._socket is not None
        self._server.run(sockets=[self._socket])
