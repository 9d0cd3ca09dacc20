"""The routes that act: correct a transcript, put a rejected recording back, upload. The page starts runs by itself.

A run is started by Airflow's own REST API, from the page in the browser, so that Airflow checks and records it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from transcripts_page import access, corrections, putting_back, reading, uploads
from transcripts_page.corrections import Conflict
from transcripts_page.recordings import RecordingObjects
from transcripts_page.resources import resources
from transcripts_page.uploads import UploadRefused

MOST_NAMES = 500
"""Recordings that one request puts back."""

_MOST_CHARACTERS = 5_000_000  # an hour of speech has some 60,000

router = APIRouter()


class Correction(BaseModel):
    """A corrected text of a recording that a report names."""

    run_id: str
    plan: str
    name: str
    text: str = Field(max_length=_MOST_CHARACTERS)
    etag: str | None
    """Of the correction that the editor began with; None if there was none."""


@router.post("/correction", dependencies=access.MAY_CORRECT)
def correct(body: Correction, user: GetUserDep) -> Any:
    """Keep a corrected text beside the machine's, under the user's name. 409 if somebody else was faster."""
    entry = reading.named(body.run_id, body.plan, body.name).entry
    objects = RecordingObjects(resources().s3, resources().bucket.name, entry)
    if objects.transcript() is None:
        raise HTTPException(
            HTTPStatus.CONFLICT,
            "This transcript was deleted, or a later upload of this name replaced it. Correct the newest one.",
        )
    known = resources().catalogue.corrections
    try:
        correction = corrections.correct(entry, objects.document(), body.text, user.get_name())
        stored = known.save(correction, body.etag)
    except ValueError as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    except Conflict as error:
        theirs = known.load(entry.name, entry.source_etag)
        other = {"author": theirs.correction.author, "text": theirs.correction.text} if theirs else None
        etag = known.etag(entry.name)
        return JSONResponse({"detail": str(error), "theirs": other, "etag": etag}, HTTPStatus.CONFLICT)
    resources().catalogue.saved(stored)
    return {"etag": stored.etag}


class Rejected(BaseModel):
    """Rejected recordings that a report names."""

    run_id: str
    plan: str
    names: list[str] = Field(min_length=1, max_length=MOST_NAMES)


@router.post("/put-back", dependencies=access.MAY_START)
def put_back(body: Rejected) -> dict[str, Any]:
    """Put rejected recordings back into `input/`: for each name what became of it, see `PutBack`."""
    entries = [reading.named(body.run_id, body.plan, name).entry for name in body.names]
    bucket = resources().bucket.name
    return {
        "names": {
            entry.name: putting_back.put_back(resources().s3, bucket, entry)
            for entry in entries
            if entry.state == "rejected"
        }
    }


class Upload(BaseModel):
    """A file that a browser is about to upload."""

    name: str = Field(max_length=1024)
    size: int
    replace: bool = False
    """Whether it may replace an upload of this name that waits."""


@router.post("/upload", dependencies=access.MAY_START)
def upload(body: Upload) -> dict[str, Any]:
    """Where and how the browser uploads the file, see `uploads.address`."""
    try:
        return uploads.address(resources().s3, resources().bucket.name, body.name, body.size, replace=body.replace)
    except UploadRefused as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
