"""A small S3 server in memory: `python s3_server.py PORT_FILE LATENCY_SECONDS`.

The benchmarks do not use moto, because moto needs several milliseconds of CPU time per request. On a machine with two
CPUs the engines would lose this time; on AWS they do not. This server supports the worker's requests and their
conditions, and can delay every answer.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass(frozen=True)
class Stored:
    body: bytes
    etag: str
    headers: dict[str, str]  # content type and user metadata


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""


objects: dict[str, Stored] = {}
_PAGE = 1000


async def serve(port_file: Path, latency: float) -> None:
    server = await asyncio.start_server(functools.partial(connection, latency), "127.0.0.1", 0, limit=1 << 20)
    part = port_file.with_suffix(".part")
    part.write_text(str(server.sockets[0].getsockname()[1]))
    part.rename(port_file)
    await server.serve_forever()


async def connection(latency: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a client's requests until the client closes the connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split(" ", 2)
            lines = (line.partition(":") for line in head.split("\r\n")[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in lines}
            if headers.get("expect") == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            if latency:
                await asyncio.sleep(latency)
            url = urlsplit(target)
            if method == "GET" and "list-type=2" in url.query:
                found = listing(unquote(url.path).strip("/"), dict(parse_qsl(url.query)))
            else:
                found = answer(method, unquote(url.path), headers, body)
            all_headers = {**found.headers, "Content-Length": str(len(found.body))}
            header_lines = "".join(f"{name}: {value}\r\n" for name, value in all_headers.items())
            writer.write(f"HTTP/1.1 {found.status} -\r\n{header_lines}\r\n".encode("latin-1"))
            if method != "HEAD":
                writer.write(found.body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
    """Execute a request and return the answer."""
    if method == "PUT":
        return copy(path, headers) if "x-amz-copy-source" in headers else put(path, headers, body)
    found = objects.get(path)
    if found is None:
        return Answer(404, {}, error("NoSuchKey"))
    if differs(headers.get("if-match"), found):
        return Answer(412, {}, error("PreconditionFailed"))
    if method == "DELETE":
        del objects[path]
        return Answer(204, {})
    return Answer(
        200, {**found.headers, "ETag": f'"{found.etag}"', "Last-Modified": formatdate(usegmt=True)}, found.body
    )


def listing(bucket: str, query: Mapping[str, str]) -> Answer:
    """A page of at most a thousand keys under a prefix."""
    begin, after = f"/{bucket}/{query.get('prefix', '')}", query.get("continuation-token", "")
    keys = sorted(path for path in objects if path.startswith(begin) and path > after)
    contents = "".join(
        f"<Contents><Key>{escape(path[len(bucket) + 2 :])}</Key><ETag>{objects[path].etag}</ETag>"
        f"<Size>{len(objects[path].body)}</Size><LastModified>2026-11-28T01:00:00.000Z</LastModified></Contents>"
        for path in keys[:_PAGE]
    )
    more = f"<NextContinuationToken>{escape(keys[_PAGE - 1])}</NextContinuationToken>" if len(keys) > _PAGE else ""
    truncated = f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>"
    return Answer(200, {}, f"<ListBucketResult>{truncated}{more}{contents}</ListBucketResult>".encode())


def put(path: str, headers: dict[str, str], body: bytes) -> Answer:
    etag = hashlib.md5(body).hexdigest()  # noqa: S324, as S3 does
    objects[path] = Stored(body, etag, kept(headers))
    return Answer(200, {"ETag": f'"{etag}"'})


def copy(path: str, headers: dict[str, str]) -> Answer:
    source = objects.get("/" + unquote(headers["x-amz-copy-source"]).lstrip("/"))
    if source is None:
        return Answer(404, {}, error("NoSuchKey"))
    if differs(headers.get("x-amz-copy-source-if-match"), source):
        return Answer(412, {}, error("PreconditionFailed"))
    replaced = headers.get("x-amz-metadata-directive") == "REPLACE"
    objects[path] = Stored(source.body, source.etag, kept(headers) if replaced else source.headers)
    return Answer(200, {}, f"<CopyObjectResult><ETag>{source.etag}</ETag></CopyObjectResult>".encode())


def differs(wanted: str | None, found: Stored) -> bool:
    return wanted is not None and wanted.strip('"') != found.etag


def kept(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("x-amz-meta-") or name == "content-type"}


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code></Error>".encode()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), float(sys.argv[2])))
