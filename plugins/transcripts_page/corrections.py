"""Corrections in the bucket: read one, write one unless somebody else was faster, make captions of it."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from transcription import searchable
from transcription_contract import captions, layout
from transcription_contract.correction import Correction
from transcription_contract.results import ReportEntry
from transcripts_page import alignment, s3_objects


class Conflict(Exception):
    """Somebody else has corrected the recording meanwhile. Nothing was written."""


class Stored(NamedTuple):
    """A correction as it stands in the bucket."""

    correction: Correction
    etag: str
    """Of the object, without quotes: `save` wants it back."""


class Corrections:
    """The corrections of a bucket. Every method may raise botocore's ClientError for what S3 refuses.

    Args:
        s3: A boto3 client of S3.
        bucket: Name of the audio bucket.
    """

    def __init__(self, s3: Any, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def load(self, name: str, source_etag: str | None = None) -> Stored | None:
        """The newest correction of a recording, or None if there is none.

        Args:
            name: The recording's name.
            source_etag: If given, a correction of another version of the recording is as none.
        """
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=layout.correction_key(name))
        except ClientError as error:
            if s3_objects.status(error) == HTTPStatus.NOT_FOUND:
                return None
            raise
        correction = Correction.read(answer["Body"].read())
        if correction is None or (source_etag is not None and correction.source_etag != source_etag):
            return None
        return Stored(correction, answer["ETag"].strip('"'))

    def etag(self, name: str) -> str | None:
        """ETag of what is stored for a recording, also of an earlier version of it; None if nothing is."""
        found = s3_objects.head(self._s3, self._bucket, layout.correction_key(name))
        return str(found["ETag"]).strip('"') if found else None

    def save(self, correction: Correction, expected_etag: str | None) -> Stored:
        """Write a correction. The bucket keeps the earlier one as an earlier version.

        Args:
            correction: As `correct` makes it.
            expected_etag: ETag of the object that the editor began with, see `etag`; None if there was none.

        Raises:
            Conflict: the object is another one by now.
        """
        condition = {"IfNoneMatch": "*"} if expected_etag is None else {"IfMatch": f'"{expected_etag}"'}
        try:
            answer = self._s3.put_object(
                Bucket=self._bucket,
                Key=layout.correction_key(correction.name),
                Body=correction.to_bytes(),
                ContentType="application/json",
                **condition,
            )
        except ClientError as error:
            # 404 answers If-Match of an object that is gone; 409 a write at the same time.
            if s3_objects.status(error) in (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
                raise Conflict(
                    f"Somebody else has corrected {correction.name!r} meanwhile. Open it again to see their text, "
                    "and add yours."
                ) from error
            raise
        return Stored(correction, answer["ETag"].strip('"'))


def correct(entry: ReportEntry, document: dict[str, Any] | None, text: str, author: str) -> Correction:
    """The correction of a transcript, with times from the machine's words.

    Args:
        entry: The recording's in a report.
        document: The transcript's JSON; None if it has none.
        text: The corrected text.
        author: Who corrected it.

    Raises:
        ValueError: the text has no words, or the recording has no transcript.
    """
    text = "\n".join(line.strip() for line in text.strip().splitlines())
    if entry.state != "transcribed":
        raise ValueError(f"{entry.name!r} has no transcript that could be corrected: it is {entry.state}.")
    if not text:
        raise ValueError("The corrected text is empty. Write at least one word.")
    speakers = document is not None and searchable.has_speakers(document)
    words = alignment.align(text, searchable.words_of(document), speakers=speakers) if document else ()
    return Correction(
        name=entry.name,
        source_etag=entry.source_etag,
        author=author,
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        text=text,
        audio_seconds=entry.audio_seconds,
        transcript_version=entry.transcript_version,
        speakers=speakers,
        words=words,
    )


def caption_file(correction: Correction, form: str) -> str:
    """Captions of a corrected text.

    Args:
        correction: With words; without word times there are no captions.
        form: `srt` or `vtt`.
    """
    turns = alignment.turns(correction.text, correction.words, speakers=correction.speakers)
    return {"srt": captions.srt, "vtt": captions.vtt}[form](turns)
