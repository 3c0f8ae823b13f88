"""An S3 server on loopback in a process of its own, and a proxy before it that counts, and fails on demand."""

import contextlib
import http.client
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

PATIENCE_SECONDS = 300
SLOW_DOWN = (503, "SlowDown", "Please reduce your request rate.")
DENIED = (403, "AccessDenied", "Access Denied")
Fault = Callable[[str, str], tuple[int, str, str] | None]
"""Method and path of a request -> status, code and message to refuse it with, or None."""


@dataclass
class S3:
    """The proxy's port, what it does to requests, and what it passed on that succeeded: (method, path)."""

    server: int
    port: int = 0
    fault: Fault = lambda method, path: None
    done: list[tuple[str, str]] = field(default_factory=list)
    heard: Callable[[str, str], None] = lambda method, path: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, cache: Path) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "AKIAFORTESTS",
            "AWS_SECRET_ACCESS_KEY": "a-secret-for-tests",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "PLIANT_CACHE": str(cache),
        }

    def make_bucket(self, name: str) -> None:
        assert self._ask("PUT", f"/{name}")[0] == 200

    def objects(self, bucket: str, below: str) -> dict[str, bytes]:
        """Every object below a folder, asked of the server itself."""
        _, page = self._ask("GET", f"/{bucket}?list-type=2&prefix={below}/&max-keys=1000")
        names = re.findall(r"<Key>([^<]+)</Key>", page.decode())
        return {name.removeprefix(f"{below}/"): self._ask("GET", f"/{bucket}/{name}")[1] for name in names}

    def delete(self, bucket: str, name: str) -> None:
        assert self._ask("DELETE", f"/{bucket}/{name}")[0] == 204

    def written(self, word: str) -> list[str]:
        """Paths with `word` in them that were put through the proxy, in order."""
        return [path for method, path in self.done if method == "PUT" and word in path]

    def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server)
        # a stated length of 0: the server takes a PUT without one for chunked
        connection.request(method, path, headers={"Authorization": _SIGNED, "Content-Length": "0"})
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found


HERE = str(Path(__file__).parent)
_SIGNED = "AWS4-HMAC-SHA256 Credential=AKIAFORTESTS/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


@contextlib.contextmanager
def running() -> Iterator[S3]:
    """The server and the proxy, until the block ends."""
    port = _free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        s3 = S3(server=port)
        proxy = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"s3": s3}))
        proxy.daemon_threads = True
        s3.port = proxy.server_address[1]
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            _await(port)
            yield s3
        finally:
            proxy.shutdown()
            proxy.server_close()
            process.kill()


def use(s3: S3, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """Let this process speak to `s3`, with mirrors below `cache`."""
    from pliant.execution import remote

    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"):
        patch.delenv(name, raising=False)
    for name, value in s3.environment(cache).items():
        patch.setenv(name, value)
    remote._opened.cache_clear()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(port: int) -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE_SECONDS:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    raise AssertionError(f"no S3 server on port {port} after {PATIENCE_SECONDS} s")


class _Handler(BaseHTTPRequestHandler):
    s3: S3
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def handle_expect_100(self) -> bool:
        going_on = super().handle_expect_100()
        self.wfile.flush()  # the client waits for it before it sends the body
        return going_on

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.s3.heard(self.command, path)
        refused = self.s3.fault(self.command, path)
        if refused is not None:
            self._send(refused[0], [("Content-Type", "application/xml")], _error(*refused[1:]))
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.s3.server)
        connection.request(self.command, self.path, body, {n: v for n, v in self.headers.items() if n != "Expect"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status < 300:
            with self.s3.lock:
                self.s3.done.append((self.command, path))
        kept = [(n, v) for n, v in answer.getheaders() if n.lower() not in ("connection", "transfer-encoding")]
        self._send(answer.status, kept, content)

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing on the terminal."""

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # a client that was killed
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() != "content-length" or self.command == "HEAD":
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
            self.wfile.flush()


def _error(code: str, message: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
