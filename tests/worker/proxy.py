"""A proxy before the S3 server. Tests use it to make single requests fail."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
from botocore.exceptions import ClientError

SLOW_PARTS = 20  # number of parts of a slow body
PART_SECONDS = 0.05  # pause after each part of a slow body


@dataclass(frozen=True)
class Call:
    """One request to S3."""

    method: str
    key: str
    is_copy: bool

    @property
    def step(self) -> str:
        """The method and the bucket's folder, such as `put output`. `copy` for a copy."""
        if self.is_copy:
            return "copy"
        return f"{self.method.lower()} {self.key.split('/')[0]}"


class Reset(Exception):
    """A fault raises this to break the connection without a response."""


Fault = Callable[[Call], "int | tuple[int, str] | None"]


class Proxy:
    """Forwards every request to the S3 server, unless a fault changes that.

    Attributes:
        before: is called before the server gets the request. It may return a status, or a status and S3's error code;
            then the proxy sends this response and does not forward the request. It may raise Reset.
        after: is called after the server has executed the request. It may raise Reset.
        truncate: whether the client gets only half of the response's body.
        slow: whether the client gets the response's body slowly.
        latency: delay of every request in seconds.
    """

    def __init__(self, target: str) -> None:
        self.address = target
        self.target = urlsplit(target).netloc
        self.calls: list[Call] = []
        self.before: Fault = lambda call: None
        self.after: Callable[[Call], None] = lambda call: None
        self.truncate: Callable[[Call], bool] = lambda call: False
        self.slow: Callable[[Call], bool] = lambda call: False
        self.latency = 0.0

    @cached_property
    def s3(self) -> Any:
        return boto3.client("s3", endpoint_url=self.address)

    def steps(self) -> list[str]:
        return [call.step for call in self.calls]


class Handler(BaseHTTPRequestHandler):
    """One connection of the worker."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def forward(self) -> None:
        try:
            self.handle_request()
        except Reset:
            self.close_connection = True

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        call = Call(self.command, path.lstrip("/").partition("/")[2], "x-amz-copy-source" in self.headers)
        self.proxy.calls.append(call)
        time.sleep(self.proxy.latency)
        status_or_error = self.proxy.before(call) or self.failed_copy_condition()
        if status_or_error is not None:
            status, code = status_or_error if isinstance(status_or_error, tuple) else (status_or_error, "")
            document = f"<Error><Code>{code}</Code><Message>injected by the test</Message></Error>" if code else ""
            self.respond(status, {}, document.encode())
            return
        connection = http.client.HTTPConnection(self.proxy.target, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        self.proxy.after(call)
        truncate, slow = self.proxy.truncate(call), self.proxy.slow(call)
        self.respond(response.status, dict(response.getheaders()), content, truncate, slow)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = forward

    def failed_copy_condition(self) -> int | None:
        """S3's status if the source of a copied part has another version. moto 5.2.5 ignores this condition."""
        expected = self.headers.get("x-amz-copy-source-if-match")
        if not expected:
            return None
        bucket, _, key = unquote(self.headers["x-amz-copy-source"]).partition("/")
        try:
            etag: str = self.proxy.s3.head_object(Bucket=bucket, Key=key)["ETag"]
        except ClientError:  # the server reports the error
            return None
        return None if etag.strip('"') == expected.strip('"') else 412

    def respond(
        self, status: int, headers: dict[str, str], body: bytes, truncate: bool = False, slow: bool = False
    ) -> None:
        self.send_response_only(status)
        headers_out = {name.lower(): value for name, value in headers.items()}
        headers_out.setdefault("content-length", str(len(body)))
        for name, value in headers_out.items():
            if name not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            body = body[: len(body) // 2] if truncate else body
            part_size = len(body) // SLOW_PARTS + 1 if slow else len(body) + 1
            for start in range(0, len(body), part_size):
                self.wfile.write(body[start : start + part_size])
                time.sleep(PART_SECONDS if slow else 0)
        self.close_connection = truncate

    def log_message(self, *_: object) -> None:
        """Do not log requests."""

    def handle(self) -> None:
        with suppress(OSError):  # the worker was killed
            super().handle()


@contextmanager
def proxied(target: str) -> Iterator[tuple[Proxy, str]]:
    """Run a proxy. Yield it and its address."""
    proxy = Proxy(target)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("ProxyHandler", (Handler,), {"proxy": proxy}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield proxy, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
