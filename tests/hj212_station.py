"""A station that speaks HJ 212 over TCP, written for tests by hand: nothing of the product's own framing is in it."""

from __future__ import annotations

import socket
from types import TracebackType

WAIT_S = 10.0
MN, PASSWORD = "010000A8900016F000169DC0", "123456"


def frame(segment: str) -> bytes:
    """`##`, length, segment, CRC of annex A, CR LF."""
    data = segment.encode()
    register = 0xFFFF
    for byte in data:
        register = (register >> 8) ^ byte
        for _ in range(8):
            low = register & 1
            register >>= 1
            if low:
                register ^= 0xA001
    return b"##" + f"{len(data):04d}".encode() + data + f"{register:04X}".encode() + b"\r\n"


def data(
    qn: str = "20261122160000001",
    cp: str = "DataTime=20261122160000;a34002-Rtd=81.3,a34002-Flag=N",
    cn: str = "2011",
    mn: str = MN,
    pw: str = PASSWORD,
    flag: int = 5,
    st: str = "22",
) -> bytes:
    """A frame of data."""
    return frame(f"QN={qn};ST={st};CN={cn};PW={pw};MN={mn};Flag={flag};CP=&&{cp}&&")


def answer(
    qn: str = "20261122160000001", cn: str = "9014", cp: str = "", mn: str = MN, pw: str = PASSWORD, flag: int = 4
) -> bytes:
    """What a platform answers."""
    return frame(f"QN={qn};ST=91;CN={cn};PW={pw};MN={mn};Flag={flag};CP=&&{cp}&&")


class StationClient:
    """A connection. `frame` gives the next whole line that came, `ended` whether the other side has closed."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((host, port), WAIT_S)
        self._socket.settimeout(WAIT_S)
        self._received = b""

    def send(self, payload: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(payload)

    def frame(self) -> bytes:
        """The next frame."""
        while b"\r\n" not in self._received:
            got = self._socket.recv(4096)
            assert got, f"closed after {self._received!r}"
            self._received += got
        line, _, self._received = self._received.partition(b"\r\n")
        return line + b"\r\n"

    def silent(self) -> bool:
        """Whether nothing is there to be read now."""
        self._socket.setblocking(False)
        try:
            return self._received == b"" and self._socket.recv(1, socket.MSG_PEEK) == b"never"
        except BlockingIOError:
            return self._received == b""
        finally:
            self._socket.settimeout(WAIT_S)

    def finish(self) -> None:
        """Send nothing more, and go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    def ended(self) -> bool:
        """Wait for the end of the connection; what came before it is dropped."""
        try:
            while self._socket.recv(4096):
                pass
        except ConnectionResetError:
            pass
        return True

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def __enter__(self) -> StationClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()
