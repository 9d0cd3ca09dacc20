"""The routes that read: runs, recordings, transcripts, search.

Objects of the bucket are found by a recording that a report names; no route takes a key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Depends, HTTPException, Query, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

from transcription import batch_jobs, model_check, model_rules
from transcription.errors import ModelUnusable
from transcription.model_rules import Image
from transcription_contract import layout
from transcription_contract.results import ReportEntry
from transcripts_page import access, corrections, recordings, search, transcript_view
from transcripts_page.catalogue import RunRecord
from transcripts_page.corrections import Stored
from transcripts_page.recordings import RecordingObjects
from transcripts_page.resources import resources
from transcripts_page.run_index import Hit

PAGE = 50
"""Rows of one page of runs, recordings or hits."""

RECENT_DAYS = 30
"""The head of the list of runs sums up so many days."""

router = APIRouter()

Offset = Annotated[int, Query(ge=0, le=10_000_000)]


@router.get("/me")
def me(rights: Annotated[dict[str, Any], Depends(access.rights_of)]) -> dict[str, Any]:
    """The user's name and what the page may offer them."""
    return {**rights, "bucket": resources().settings.bucket}


@router.get("/runs")
def runs(offset: Offset = 0) -> dict[str, Any]:
    """The runs that were accounted for, the newest first, and the sums of those of the last days."""
    found = resources().catalogue.runs()
    return {
        "runs": [asdict(record) for record in found[offset : offset + PAGE]],
        "count": len(found),
        "recent": _sums(found, datetime.now(UTC) - timedelta(days=RECENT_DAYS)),
    }


def _sums(records: Iterable[RunRecord], since: datetime) -> dict[str, Any]:
    """The files by state, audio hours and US dollars of the runs that were accounted for since then."""
    files: Counter[str] = Counter()
    audio_hours = estimated_usd = 0.0
    for record in records:
        if datetime.fromisoformat(record.finished) >= since:
            files.update(record.totals["files"])
            audio_hours += record.totals["audio_hours"]
            estimated_usd += record.estimated_usd
    return {"days": RECENT_DAYS, "files": files, "audio_hours": audio_hours, "estimated_usd": estimated_usd}


@router.get("/run")
def run(run_id: str) -> dict[str, Any]:
    """One run; null if it was not accounted for, or not yet."""
    resources().catalogue.look_for(run_id)
    record = resources().catalogue.run(run_id)
    return {"run": asdict(record) if record else None}


@router.get("/progress")
def progress(run_id: str) -> dict[str, Any]:
    """How far a running run is, see `LiveRuns.progress`."""
    return resources().live.progress(run_id)


@router.get("/report")
def report(run_id: str, plan: str) -> RedirectResponse:
    """The report of a plan, as a download."""
    record = resources().catalogue.run(run_id)
    if record is None or plan not in record.plans:
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no report of this plan.")
    address = recordings.address(
        resources().s3,
        resources().bucket.name,
        layout.report_key(run_id, plan),
        seconds=recordings.DOWNLOAD_SECONDS,
        file_name=f"report-{record.folder}.json",
    )
    return RedirectResponse(address)


@router.get("/recordings")
def recordings_of_plan(run_id: str, plan: str, state: str = "", part: str = "", offset: Offset = 0) -> dict[str, Any]:
    """Recordings of a plan by name, and how many there are."""
    with resources().catalogue.index(run_id, plan) as found:
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "This plan has no search index.")
        entries = found.recordings(state=state, name_part=part, limit=PAGE, offset=offset)
        count = found.count(state=state, name_part=part)
    return {"recordings": [_entry(entry) for entry in entries], "count": count}


@router.get("/search")
def search_all(q: str, by: Literal["words", "name"] = "words", offset: Offset = 0) -> dict[str, Any]:
    """Recordings of all runs by words of their text or by a part of their name."""
    find = search.by_words if by == "words" else search.by_name
    page = find(resources().catalogue, q, limit=PAGE, offset=offset)
    return {"hits": [_hit(hit) for hit in page.hits], "more": page.more}


class Named(NamedTuple):
    """A recording that a report names, with what the run's index has of its text."""

    entry: ReportEntry
    indexed_text: str | None


def named(run_id: str, plan: str, name: str) -> Named:
    """The recording of this name in a plan of a run.

    Raises:
        HTTPException: 404, the plan's report does not name it.
    """
    with resources().catalogue.index(run_id, plan) as found:
        entry = found.recording(name) if found else None
        text = found.text(name) if found and entry else None
    if entry is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "The report does not name this recording.")
    return Named(entry, text)


OfReport = Annotated[Named, Depends(named)]


def _objects(found: OfReport) -> RecordingObjects:
    return RecordingObjects(resources().s3, resources().bucket.name, found.entry)


Objects = Annotated[RecordingObjects, Depends(_objects)]


@router.get("/recording")
def recording(found: OfReport, objects: Objects) -> dict[str, Any]:
    """A recording with its audio, its transcript and a person's correction.

    `audio` is an address that works for an hour, or null if this upload is no longer in the bucket. `machine` and
    `correction` are null if there is none.
    """
    entry = found.entry
    key = objects.audio_key()
    stored = resources().catalogue.corrections.load(entry.name, entry.source_etag)
    return {
        "entry": _entry(entry),
        "audio": objects.address(key, seconds=recordings.AUDIO_SECONDS) if key else None,
        "machine": _machine_text(found, objects) if entry.transcript_key else None,
        "correction": _correction(stored) if stored else None,
        "correction_etag": resources().catalogue.corrections.etag(entry.name),
    }


def _machine_text(found: Named, objects: RecordingObjects) -> dict[str, Any]:
    """The machine's text. If the bucket has another upload's by now, it is the one that the run's index kept."""
    newest = objects.transcript()
    document = objects.document() if newest else None
    text = document["text"] if document else (objects.text() if newest else None) or found.indexed_text or ""
    paragraphs = transcript_view.of_document(document) if document else transcript_view.of_text(text)
    return {
        "text": text.rstrip("\n"),
        "paragraphs": paragraphs,
        "timed": document is not None,
        "readings": transcript_view.other_readings(document) if document else [],
        "language": document["language"] if document else None,
        "warnings": document["warnings"] if document else [],
        "formats": ["txt", *objects.formats()] if newest else [],
        "current": newest is not None,
        "written": newest.written if newest else found.entry.time,
        "model": newest.model if newest else found.entry.model,
        "engine": newest.engine if newest else found.entry.engine,
    }


def _correction(stored: Stored) -> dict[str, Any]:
    found = stored.correction
    return {
        "author": found.author,
        "time": found.time,
        "text": found.text,
        "paragraphs": transcript_view.of_correction(found) if found.words else transcript_view.of_text(found.text),
        "timed": bool(found.words),
    }


@router.get("/versions")
def versions(objects: Objects) -> dict[str, Any]:
    """The transcripts that this one replaced, the newest first."""
    return {"versions": [asdict(version) for version in objects.earlier_versions()]}


@router.get("/file")
def file(
    found: OfReport,
    objects: Objects,
    form: Literal["audio", "txt", "json", "srt", "vtt"],
    version: str = "",
    corrected: bool = False,
) -> Response:
    """A download: the audio, the transcript in a form, an earlier version of it, or the corrected text in a form."""
    entry = found.entry
    if corrected:
        return _corrected_file(entry, form)
    if version:
        key = next((known.key for known in objects.earlier_versions() if known.version == version), None)
    elif form == "audio":
        key = objects.audio_key()
    elif form == "txt":
        key = entry.transcript_key if objects.transcript() else None
    else:
        key = layout.format_key(entry.transcript_key, form) if form in objects.formats() else None
    if not key:
        raise HTTPException(HTTPStatus.NOT_FOUND, "The bucket has no such file of this recording any more.")
    name = entry.name if form == "audio" else f"{entry.name}.{form}"
    seconds = recordings.DOWNLOAD_SECONDS
    return RedirectResponse(objects.address(key, seconds=seconds, file_name=name, version=version))


def _corrected_file(entry: ReportEntry, form: str) -> Response:
    stored = resources().catalogue.corrections.load(entry.name, entry.source_etag)
    if stored is None or form not in ("txt", "srt", "vtt") or (form != "txt" and not stored.correction.words):
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no correction of this recording in this form.")
    text = stored.correction.text + "\n" if form == "txt" else corrections.caption_file(stored.correction, form)
    headers = {"Content-Disposition": recordings.attachment(f"{entry.name}.{form}")}
    return PlainTextResponse(text, headers=headers)


@router.get("/log", dependencies=[access.MAY_READ_LOGS])
def log_of_child(found: OfReport) -> PlainTextResponse:
    """The log of the last attempt of the child that had the recording, its last 10,000 lines."""
    stream, group, logs = found.entry.log_stream, _log_group(), resources().logs
    if not stream or not group:
        raise HTTPException(HTTPStatus.NOT_FOUND, "AWS Batch did not know the log of this recording's child.")
    try:
        events = logs.get_log_events(logGroupName=group, logStreamName=stream)["events"]
    except logs.exceptions.ResourceNotFoundException:
        raise HTTPException(HTTPStatus.NOT_FOUND, "The log has expired.") from None
    return PlainTextResponse("\n".join(event["message"] for event in events))


def _log_group() -> str:
    """CloudWatch log group of the worker; empty if the job definition names none."""
    definition = batch_jobs.newest_definition(resources().batch, resources().settings.job_definition)
    for container in batch_jobs.containers(definition or {}):
        return str(container.get("logConfiguration", {}).get("options", {}).get("awslogs-group", ""))
    return ""


@router.get("/models")
def models() -> dict[str, Any]:
    """The models and engines that a run can name."""
    bucket, settings = resources().bucket, resources().settings
    image = model_check.image_of(resources().batch, settings.job_definition)
    keys = (item.key for item in bucket.listing(layout.MODELS))
    return {"models": _model_names(image, bucket.name, keys), "engines": [engine.name for engine in image.engines]}


def _model_names(image: Image, bucket: str, keys: Iterable[str]) -> list[str]:
    """The built-in models, and those of the folders of `models/`."""
    in_folders = model_rules.of_folders(bucket, keys).values()
    usable = {choice.model for choice in in_folders if not isinstance(choice, ModelUnusable) and choice.model}
    return [*sorted(image.built_in), *sorted(usable)]


def _entry(entry: ReportEntry) -> dict[str, Any]:
    return {**asdict(entry), "name": entry.name}


def _hit(hit: Hit) -> dict[str, Any]:
    return {
        "run_id": hit.run_id,
        "plan": hit.plan_id,
        "entry": _entry(hit.entry),
        "passages": [passage._asdict() for passage in hit.passages],
        "corrected": hit.corrected,
    }
