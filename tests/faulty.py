"""A server that fails in the way it is told, in front of one that works."""

import http.client
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

#: What becomes of the n-th request, counted from 1: "" (it is passed on), "500", "drop" (the
#: connection is closed before the server hears of it), "mute" (the server does it, and the
#: connection is closed before its answer), "die" (nothing answers from now on), or the seconds for
#: which it is delayed.
Fault = Callable[[int], str | float]


@contextmanager
def started_server(folder: Path) -> Iterator[int]:
    """Start MLflow's own server, its store in a folder; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = "mlflow server --backend-store-uri sqlite:///server.db --workers 1 --port"
    process = subprocess.Popen(
        [sys.executable, "-m", *command.split(), str(port)],
        cwd=folder,
        env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_TRACKING_URI": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(1200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                    break
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                assert process.poll() is None
                time.sleep(0.1)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Proxy:
    """Takes requests for the server at a port of this machine; `port` is its own."""

    def __init__(self, server: int, fault: Fault = lambda number: "") -> None:
        self.server, self.fault = server, fault
        self.port, self.requests = 0, 0
        self._open: list[socket.socket] = []
        self.live()

    def live(self) -> None:
        """Answer from now on, as if started; requests are counted anew."""
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port, self._open = listening.getsockname()[1], [listening]
        self._numbers, self.requests = itertools.count(1), 0
        threading.Thread(target=self._accept, args=[listening], daemon=True).start()

    def die(self) -> None:
        """Refuse connections from now on and end those that are open, as if killed."""
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def mend(self) -> None:
        """Pass all on from now on."""
        self.die()
        self.fault = lambda number: ""
        self.live()

    def next_fault(self) -> str | float:
        number = next(self._numbers)
        self.requests = number
        return self.fault(number)

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, address = listening.accept()
                self._open.append(connection)
                threading.Thread(
                    target=self._answer, args=(connection, address), daemon=True
                ).start()

    def _answer(self, connection: socket.socket, address: tuple[str, int]) -> None:
        with suppress(OSError, ValueError):
            _Handler(connection, address, self)  # type: ignore[arg-type]
        connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body, proxy = self._read_body(), self.server
        assert isinstance(proxy, Proxy)
        fault = proxy.next_fault()
        if fault == "die":
            proxy.die()
        if fault in ("die", "drop"):
            self.close_connection = True
            return
        if fault == "500":
            self._reply(500, [], b"no")
            return
        if isinstance(fault, float):
            time.sleep(fault)
        server = http.client.HTTPConnection("127.0.0.1", proxy.server, timeout=30)
        told = {key: value for key, value in self.headers.items() if key.lower() not in _HOP_BY_HOP}
        server.request(self.command, self.path, body, told | {"Content-Length": str(len(body))})
        answer = server.getresponse()
        content = answer.read()
        server.close()
        if fault == "mute":
            self.close_connection = True
            return
        self._reply(answer.status, answer.getheaders(), content)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _reply(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for key, value in headers:
            if key.lower() not in _HOP_BY_HOP:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


_HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}
