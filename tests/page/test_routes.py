"""Every route of the page: who may use it, and what it refuses. Real users ask with real tokens."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import pytest
from fastapi.routing import APIRoute

from tests.airflow_ui import Running
from tests.page.conftest import EDITOR, NOBODY, SCRIPT_NAME, STEREO_NAME, VIEWER, Night
from transcripts_page import server

HEADER = {"X-Transcripts-Page": "1"}
UNAUTHORIZED, FORBIDDEN, OK = HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.OK


@dataclass(frozen=True)
class Route:
    """A request to a route that works for those who have the right."""

    path: str
    query: str = ""
    """`run`: names the run. `recording`: names a recording, too."""
    more: tuple[tuple[str, str], ...] = ()
    """More parameters."""
    body: tuple[tuple[str, Any], ...] | None = None
    """Of a POST, which needs the editor's rights."""
    name: str = STEREO_NAME
    status: HTTPStatus = OK


READS = (
    Route("/"),
    Route("/{file_name}", name="page.css"),
    Route("/api/me"),
    Route("/api/runs"),
    Route("/api/run", "run"),
    Route("/api/progress", "run"),
    Route("/api/report", "run", status=HTTPStatus.TEMPORARY_REDIRECT),
    Route("/api/recordings", "run"),
    Route("/api/search", more=(("q", "message"),)),
    Route("/api/recording", "recording"),
    Route("/api/versions", "recording"),
    Route("/api/file", "recording", more=(("form", "txt"),), status=HTTPStatus.TEMPORARY_REDIRECT),
    Route("/api/log", "recording"),
    Route("/api/models"),
)
ACTS = (
    Route(
        "/api/correction",
        "recording",
        body=(("text", "one two"), ("etag", "no such version")),
        status=HTTPStatus.CONFLICT,
    ),
    Route("/api/put-back", "run", body=(("names", ["calls/empty.wav"]),), name="calls/empty.wav"),
    Route("/api/upload", body=(("name", "never.wav"), ("size", 5))),
)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def ask(
    airflow: Running, route: Route, night: Night, *, token: str = "", headers: dict[str, str] | None = None
) -> Answer:
    """Send the route's request."""
    named = {"": {}, "run": night.query(), "recording": night.query(route.name)}[route.query]
    path = route.path.replace("{file_name}", route.name)
    if route.body is None:
        body, query = None, urllib.parse.urlencode({**named, **dict(route.more)})
    else:
        body, query = json.dumps({**named, **dict(route.body)}).encode(), ""
    request = urllib.request.Request(
        f"{airflow.url}/transcripts{path}?{query}",
        body,
        {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {token}"} if token else {}),
            **(HEADER if headers is None else headers),
        },
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request) as answer:
            return Answer(answer.status, answer.headers, answer.read().decode())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read().decode())


def paths(method: str) -> set[str]:
    return {route.path for route in server.app.routes if isinstance(route, APIRoute) and method in route.methods}


def test_these_are_all_routes() -> None:
    assert paths("GET") == {route.path for route in READS}
    assert paths("POST") == {route.path for route in ACTS}
    assert all(isinstance(route, APIRoute) and route.methods in ({"GET"}, {"POST"}) for route in server.app.routes)


@pytest.mark.parametrize("route", [*READS, *ACTS], ids=lambda route: route.path)
def test_a_route_refuses_whoever_is_not_signed_in_or_has_no_right(route: Route, airflow: Running, night: Night) -> None:
    assert ask(airflow, route, night).status == UNAUTHORIZED
    assert ask(airflow, route, night, token="invented").status == FORBIDDEN  # noqa: S106
    assert ask(airflow, route, night, token=airflow.token(NOBODY)).status == FORBIDDEN


@pytest.mark.parametrize("route", READS, ids=lambda route: route.path)
def test_a_viewer_may_read(route: Route, airflow: Running, night: Night) -> None:
    assert ask(airflow, route, night, token=airflow.token(VIEWER)).status == route.status


@pytest.mark.parametrize("route", ACTS, ids=lambda route: route.path)
def test_only_an_editor_may_act_and_only_from_the_page(route: Route, airflow: Running, night: Night) -> None:
    assert ask(airflow, route, night, token=airflow.token(VIEWER)).status == FORBIDDEN
    token = airflow.token(EDITOR)
    without = ask(airflow, route, night, token=token, headers={})
    assert without.status == FORBIDDEN
    assert "X-Transcripts-Page" in without.json["detail"]
    assert ask(airflow, route, night, token=token).status == route.status
    for key in airflow.keys("input/calls/"):  # what `put-back` put there
        airflow.s3.delete_object(Bucket=airflow.bucket, Key=key)


@pytest.mark.parametrize(
    "path", ["/docs", "/redoc", "/openapi.json", "/static/page.css", "/../server.py", "/server.py"]
)
def test_nothing_else_is_served(path: str, airflow: Running, night: Night) -> None:
    assert ask(airflow, Route(path), night, token=airflow.token(EDITOR)).status == HTTPStatus.NOT_FOUND


@pytest.mark.parametrize("name", ["calls/never.wav", "../runs/x", "calls/", "child_job_input/plan.lock"])
def test_only_a_recording_that_a_report_names_is_found(name: str, airflow: Running, night: Night) -> None:
    airflow.s3.put_object(Bucket=airflow.bucket, Key="output/calls/never", Body=b"of nobody")
    token = airflow.token(EDITOR)
    for path, more in (
        ("/api/recording", ()),
        ("/api/file", (("form", "txt"),)),
        ("/api/versions", ()),
        ("/api/log", ()),
    ):
        found = ask(airflow, Route(path, "recording", name=name, more=more), night, token=token)
        assert found.status == HTTPStatus.NOT_FOUND
    airflow.s3.delete_object(Bucket=airflow.bucket, Key="output/calls/never")


def test_only_a_version_of_the_transcript_itself_is_found(airflow: Running, night: Night) -> None:
    other = airflow.s3.head_object(Bucket=airflow.bucket, Key="output/calls/agent-pass")["VersionId"]
    route = Route("/api/file", "recording", more=(("form", "txt"), ("version", other)))
    assert ask(airflow, route, night, token=airflow.token(EDITOR)).status == HTTPStatus.NOT_FOUND


def test_addresses_of_objects_are_signed_and_expire(airflow: Running, night: Night) -> None:
    token = airflow.token(VIEWER)
    found = ask(airflow, Route("/api/recording", "recording"), night, token=token).json
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(found["audio"]).query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert int(query["X-Amz-Expires"][0]) <= 3600
    route = Route("/api/file", "recording", more=(("form", "vtt"),))
    address = ask(airflow, route, night, token=token).headers["Location"]
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(address).query)
    assert int(query["X-Amz-Expires"][0]) <= 60
    assert query["response-content-disposition"] == ["attachment; filename*=UTF-8''two%20speakers.wav.vtt"]


def test_the_page_may_load_only_its_own_files_and_play_only_the_buckets_audio(airflow: Running, night: Night) -> None:
    found = ask(airflow, Route("/"), night, token=airflow.token(VIEWER))
    policy = dict(part.strip().split(" ", 1) for part in found.headers["Content-Security-Policy"].split(";"))
    endpoint = airflow.variables["AWS_ENDPOINT_URL"]
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": f"'self' {endpoint}",
        "media-src": endpoint,
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'self'",
    }
    assert not re.search(r"<script(?! type=\"module\" src=)|\son\w+=|style=", found.text), "no inline code"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert found.headers["Cache-Control"] == "no-store"


def test_a_person_without_rights_sees_a_page_that_says_so(airflow: Running, night: Night) -> None:
    for token, text in (("", "You are not signed in"), (airflow.token(NOBODY), "You may not see transcripts")):
        found = ask(airflow, Route("/"), night, token=token, headers={"Accept": "text/html"})
        assert found.status in (UNAUTHORIZED, FORBIDDEN)
        assert f"<h1>{text}</h1>" in found.text
        assert found.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_an_uploads_address_works_for_its_name_and_size_only(airflow: Running, night: Night) -> None:
    token = airflow.token(EDITOR)
    found = ask(airflow, Route("/api/upload", body=(("name", "a/b.wav"), ("size", 5))), night, token=token).json
    url = urllib.parse.urlsplit(found["url"])
    assert url.path.endswith("/input/a/b.wav")
    signed = urllib.parse.parse_qs(url.query)
    assert signed["X-Amz-SignedHeaders"] == ["content-length;host;if-none-match"]
    assert int(signed["X-Amz-Expires"][0]) <= 300
    for body, text in (
        ((("name", "a.txt"), ("size", 5)), "extension"),
        ((("name", "/a.wav"), ("size", 5)), "folder"),
        ((("name", "a.wav"), ("size", 0)), "bytes"),
        ((("name", "a.wav"), ("size", 6 * 1024**3)), "aws s3 cp"),
        ((("name", "a" * 1010 + ".wav"), ("size", 5)), "too long"),
    ):
        refused = ask(airflow, Route("/api/upload", body=body), night, token=token)
        assert refused.status == HTTPStatus.UNPROCESSABLE_ENTITY
        assert text in refused.json["detail"]


def test_a_correction_of_what_has_no_transcript_is_refused(airflow: Running, night: Night) -> None:
    body = (("text", "words"), ("etag", None))
    route = Route("/api/correction", "recording", body=body, name=SCRIPT_NAME)
    assert ask(airflow, route, night, token=airflow.token(EDITOR)).status == HTTPStatus.CONFLICT
    empty = Route("/api/correction", "recording", body=(("text", " \n"), ("etag", None)))
    refused = ask(airflow, empty, night, token=airflow.token(EDITOR))
    assert refused.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert "empty" in refused.json["detail"]
