"""A proxy in front of the S3 server, to let one step of a recording's life fail on demand."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable
from urllib.parse import unquote, urlsplit

import boto3
from botocore.exceptions import ClientError

DROPS = 20  # in which a slow body arrives
DROP_SECONDS = 0.05


@dataclass(frozen=True)
class Call:
    """One request to S3, told by what the worker means by it."""

    method: str
    key: str
    is_copy: bool

    @property
    def step(self) -> str:
        if self.is_copy:
            return "copy"
        verb = {"GET": "read", "HEAD": "look", "PUT": "put", "DELETE": "delete", "POST": "post"}[self.method]
        return f"{verb} {self.key.split('/')[0]}"


class Reset(Exception):
    """Raised by a fault: the connection breaks without an answer."""


Fault = Callable[[Call], "int | None"]


class Proxy:
    """Forwards every call, except where `before` or `after` does something else.

    before(call) may return a status that is answered instead of forwarding; after(call) runs when the
    server has done what was asked and before the worker learns of it. Both may raise Reset. `short` calls get
    half of their body, `slow` ones get it in drops.
    """

    def __init__(self, target: str) -> None:
        self.address = target
        self.target = urlsplit(target).netloc
        self.calls: list[Call] = []
        self.before: Fault = lambda call: None
        self.after: Callable[[Call], None] = lambda call: None
        self.short: Callable[[Call], bool] = lambda call: False
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
            self.pass_on()
        except Reset:
            self.close_connection = True

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        call = Call(self.command, path.lstrip("/").partition("/")[2], "x-amz-copy-source" in self.headers)
        self.proxy.calls.append(call)
        time.sleep(self.proxy.latency)
        status = self.proxy.before(call) or self.failed_copy_condition()
        if status is not None:
            self.answer(status, {}, b"")
            return
        connection = http.client.HTTPConnection(self.proxy.target, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        self.proxy.after(call)
        short, slow = self.proxy.short(call), self.proxy.slow(call)
        self.answer(answer.status, dict(answer.getheaders()), content, short, slow)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = forward

    def failed_copy_condition(self) -> int | None:
        """What S3 answers if the source of a copy is another version; moto 5.2.5 ignores the condition."""
        wanted = self.headers.get("x-amz-copy-source-if-match")
        if not wanted:
            return None
        bucket, _, key = unquote(self.headers["x-amz-copy-source"]).partition("/")
        try:
            etag: str = self.proxy.s3.head_object(Bucket=bucket, Key=key)["ETag"]
        except ClientError:  # the server says what is wrong
            return None
        return None if etag.strip('"') == wanted.strip('"') else 412

    def answer(
        self, status: int, headers: dict[str, str], body: bytes, short: bool = False, slow: bool = False
    ) -> None:
        self.send_response_only(status)
        passed = {name.lower(): value for name, value in headers.items()}
        passed.setdefault("content-length", str(len(body)))
        for name, value in passed.items():
            if name not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            body = body[: len(body) // 2] if short else body
            drop = len(body) // DROPS + 1 if slow else len(body) + 1
            for start in range(0, len(body), drop):
                self.wfile.write(body[start : start + drop])
                time.sleep(DROP_SECONDS if slow else 0)
        self.close_connection = short

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        with suppress(OSError):  # the worker was killed
            super().handle()


@contextmanager
def proxied(target: str) -> Iterator[tuple[Proxy, str]]:
    """A running proxy and its address."""
    proxy = Proxy(target)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("ProxyHandler", (Handler,), {"proxy": proxy}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield proxy, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
