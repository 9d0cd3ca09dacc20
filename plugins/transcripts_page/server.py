"""The page's server: an ASGI application below `/transcripts` of Airflow's API server.

Every route demands a right of Airflow's, see `access`. Objects of the bucket are found by a recording that a report
names; no route takes a key.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from botocore.exceptions import BotoCoreError, ClientError
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from transcription.errors import SettingError
from transcripts_page import access, acting, no_access, reading
from transcripts_page.page_files import page_files
from transcripts_page.resources import resources

log = logging.getLogger(__name__)

_INDEX = "index.html"

# No /docs and no /openapi.json: they would be open to everybody.
app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[access.MAY_READ])
app.include_router(reading.router, prefix="/api")
app.include_router(acting.router, prefix="/api")


# Safety and errors


@app.middleware("http")
async def _with_safe_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    answer = await call_next(request)
    for name, value in {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }.items():
        answer.headers.setdefault(name, value)
    return answer


@app.exception_handler(AnyHTTPException)
def _told(request: Request, error: AnyHTTPException) -> Response:
    """An error as JSON, or as a page if a person opened an address without being allowed to."""
    status = HTTPStatus(error.status_code)
    asks_for_page = "text/html" in request.headers.get("Accept", "")
    if asks_for_page and status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        headers = {"Content-Security-Policy": no_access.CONTENT_SECURITY_POLICY}
        return HTMLResponse(no_access.page(status), status, headers)
    return JSONResponse({"detail": error.detail}, status)


@app.exception_handler(ClientError)
def _refused_by_aws(_: Request, error: ClientError) -> JSONResponse:
    log.warning("AWS refuses a request of the page: %s", error)
    told = error.response.get("Error", {})
    detail = f"AWS refuses {error.operation_name}: {told.get('Code')}. {told.get('Message', '')}"
    if told.get("Code") in ("AccessDenied", "AccessDeniedException", "403"):
        detail += " Airflow's role lacks this right; docs/security.md lists what the page needs."
    return JSONResponse({"detail": detail}, HTTPStatus.BAD_GATEWAY)


@app.exception_handler(BotoCoreError)
def _aws_out_of_reach(_: Request, error: BotoCoreError) -> JSONResponse:
    log.warning("The page cannot reach AWS: %s", error)
    return JSONResponse({"detail": f"AWS cannot be reached: {error}"}, HTTPStatus.BAD_GATEWAY)


@app.exception_handler(SettingError)
def _wrong_setting(_: Request, error: SettingError) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)


# The page itself


@app.get("/")
def index() -> Response:
    """The page. Its content security policy names the bucket, from which audio is played."""
    bucket = resources().browser_origin
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self' {bucket}; media-src {bucket}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    file = page_files()[_INDEX]
    return Response(file.body, media_type=file.content_type, headers={"Content-Security-Policy": policy})


@app.get("/{file_name}")
def page_file(file_name: str, request: Request) -> Response:
    """One of the page's files. A browser asks each time whether it has changed."""
    file = page_files().get(file_name)
    if file is None or file_name == _INDEX:  # which is served with its policy only
        raise HTTPException(HTTPStatus.NOT_FOUND, "The page has no such file.")
    headers = {"ETag": file.etag, "Cache-Control": "private, no-cache"}
    if request.headers.get("If-None-Match") == file.etag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(file.body, media_type=file.content_type, headers=headers)
