"""Write one recording's result to the bucket, in an order that loses nothing.

Transcribed:
    1. Write the extra formats, then delete extra formats of the recording's older versions.
    2. Write the text last: if it exists, all outputs exist.
    3. Copy the audio to `processed/`, then delete the source.
    4. Delete the objects of the recording's older versions in `failed/`.
Rejected:
    1. Write the error document to `failed/`.
    2. Copy the audio to `failed/`, then delete the source. Unreadable audio stays.

An output replaces nothing or an output of the same recording, and only if that has not changed since the worker read
it. The worker reads the outputs' facts, then checks that the source is the planned version, then writes. If a newer
version's transcript is written in between, the write fails and the worker decides again. Copy and deletion of the
audio require the planned ETag. A worker may be killed at any point: the next attempt ends in the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from itertools import chain

from transcription_contract import layout, results
from transcription_contract.manifest import Recording
from transcription_contract.results import ErrorCode, ErrorDocument, Owner

from .failures import Changed, Gone, RecordingFailed, Rejected, Replaced
from .formats import CONTENT_TYPES, render
from .log import log
from .provenance import Provenance
from .source import Source
from .storage import Bucket, ObjectFacts
from .transcript import Transcript
from .transcript_place import Found, TranscriptPlace, choose_place, extra_keys, find_texts, is_own

ATTEMPTS = 10  # if other workers change the key before the write

VANISHED = "This recording was deleted before it was transcribed. Upload it again if it is still needed."


class Outcome(StrEnum):
    """The outcome of a recording."""

    TRANSCRIBED = "transcribed"
    REPLACED = "replaced"
    """A newer version of the recording exists, and another run transcribes it."""
    REJECTED = "rejected"
    UNREADABLE = "unreadable"
    """S3 denies access to the audio, which stays in place."""
    VANISHED = "vanished"


class Delivery:
    """Writes the results of recordings to the bucket."""

    def __init__(self, bucket: Bucket, provenance: Provenance) -> None:
        self._bucket = bucket
        self._provenance = provenance
        self._formats = provenance.options.output_formats

    def has_transcript(self, recording: Recording) -> bool:
        """Whether all requested outputs of this version of the recording exist with these options."""
        return self._valid_text(recording) is not None

    def deliver(self, recording: Recording, transcript: Callable[[], Transcript | None]) -> Outcome:
        """Write a recording's result.

        Args:
            transcript: returns the transcript, or None if the bucket has it already; raises what failed.

        Raises:
            RecordingFailed: a new attempt can help this recording.
            WorkerError: the bucket or the machine fails.
        """
        try:
            try:
                return self._transcribed(recording, transcript())
            except Rejected as rejection:
                return self._rejected(recording, rejection)
        except Replaced:
            return Outcome.REPLACED
        except Gone:
            return self._vanished(recording)

    # Transcribed

    def _transcribed(self, recording: Recording, transcript: Transcript | None) -> Outcome:
        source = self._put_transcript(recording, transcript) if transcript else self._reuse_transcript(recording)
        if not recording.in_place:
            self._move(recording, source, recording.processed_key)
        self._clear_failures(recording)
        return Outcome.TRANSCRIBED

    def _put_transcript(self, recording: Recording, transcript: Transcript) -> ObjectFacts:
        written: dict[str, str] = {}
        for _ in range(ATTEMPTS):
            try:
                place = choose_place(self._bucket, recording, self._formats)
                self._delete_written(written, kept=place.outputs)
                source = self._write(recording, transcript, place, written)
            except Changed:
                continue
            except (Rejected, Replaced, Gone):
                self._delete_written(written)
                raise
            self._delete_elsewhere(recording, place.key, place.texts)
            return source
        raise RecordingFailed(f"Other workers changed this recording's outputs {ATTEMPTS} times")

    def _write(
        self, recording: Recording, transcript: Transcript, place: TranscriptPlace, written: dict[str, str]
    ) -> ObjectFacts:
        """Write all outputs at this place. Store the ETag of each extra format in `written`."""
        source = self._source(recording, place.texts.values())
        origin = self._provenance.origin(recording)
        metadata = self._provenance.transcript_metadata(recording, transcript)
        for form in self._formats:
            key = layout.format_key(place.key, form)
            body = render(form, transcript, origin)
            written[key] = self._bucket.put(key, body, CONTENT_TYPES[form], metadata, place.outputs[key])
        self._delete_stale_extras(recording, source, place, written)
        source = self._source(recording, place.texts.values())
        text = place.outputs[place.key]
        if text:
            metadata.update(self._replaced_version(text))
        self._bucket.put(place.key, render("txt", transcript, origin), CONTENT_TYPES["txt"], metadata, text)
        return source

    def _replaced_version(self, text: ObjectFacts) -> dict[str, str]:
        """Metadata with the version that this run replaces. An earlier attempt may have written the text already."""
        if text.metadata.get(results.RUN) == self._provenance.run:
            earlier = text.metadata.get(results.REPLACES)
        else:
            earlier = text.version
        return {results.REPLACES: earlier} if earlier else {}

    def _delete_stale_extras(
        self, recording: Recording, source: ObjectFacts, place: TranscriptPlace, written: dict[str, str]
    ) -> None:
        """Delete extra formats of the recording's other versions that this delivery does not write.

        A copy in `processed/` can have another ETag than the upload, which its metadata name.
        """
        etags = {recording.source_etag, Owner.of(source.metadata).etag}
        for key in set(extra_keys(place.key)) - set(written):
            found = place.outputs[key]
            if found and is_own(found, recording) and Owner.of(found.metadata).etag not in etags:
                try:
                    self._bucket.delete(key, found.etag)
                except Replaced as error:
                    raise Changed(key) from error

    def _delete_written(self, written: dict[str, str], kept: Iterable[str] = ()) -> None:
        """Delete the extra formats that this delivery wrote at a place that it no longer uses."""
        for key in set(written) - set(kept):
            with suppress(Replaced):
                self._bucket.delete(key, written.pop(key))

    def _delete_elsewhere(self, recording: Recording, place: str, texts: Found) -> None:
        """Delete the outputs of older or killed deliveries at the recording's other transcript key, the text last."""
        for text in (key for key, found in texts.items() if found and key != place):
            for key in (*extra_keys(text), text):
                found = self._bucket.find(key)
                if found and is_own(found, recording) and _is_superseded(found, recording):
                    with suppress(Replaced):
                        self._bucket.delete(key, found.etag)

    def _reuse_transcript(self, recording: Recording) -> ObjectFacts:
        """Keep a valid transcript of an earlier run. In place, add this run's stamp, which `verify` needs."""
        for _ in range(ATTEMPTS):
            texts = find_texts(self._bucket, recording)
            valid = self._valid_text(recording)
            if valid is None:
                break
            source = self._source(recording, texts.values())
            try:
                if recording.in_place:
                    self._stamp(recording, *valid)
            except Changed:
                continue
            self._delete_elsewhere(recording, valid[0], texts)
            return source
        raise RecordingFailed("Another worker changed this recording's transcript")

    def _stamp(self, recording: Recording, key: str, text: ObjectFacts) -> None:
        if text.metadata.get(results.RUN) == self._provenance.run:
            return
        kept = {name: value for name, value in text.metadata.items() if name != results.REPLACES}
        metadata = {**kept, results.RUN: self._provenance.run, results.UPLOADED: recording.uploaded.isoformat()}
        self._bucket.put(key, self._bucket.read(key, text.etag), CONTENT_TYPES["txt"], metadata, text)

    def _valid_text(self, recording: Recording) -> tuple[str, ObjectFacts] | None:
        """The key and facts of the text, if it and all requested formats are valid."""
        for key in recording.transcript_keys:
            text = self._bucket.find(key)
            extras = (self._bucket.find(layout.format_key(key, form)) for form in self._formats)
            if text and all(self._is_valid(found, recording) for found in chain([text], extras)):
                return key, text
        return None

    def _is_valid(self, found: ObjectFacts | None, recording: Recording) -> bool:
        wanted = self._provenance.metadata(recording)
        names = (results.RECORDING, results.SOURCE_ETAG, results.FINGERPRINT)
        return found is not None and all(found.metadata.get(name) == wanted[name] for name in names)

    def _clear_failures(self, recording: Recording) -> None:
        for key in (recording.failed_key, recording.error_key):
            found = self._bucket.find(key)
            if found and _is_superseded(found, recording):
                with suppress(Replaced):
                    self._bucket.delete(key, found.etag)

    # Rejected

    def _rejected(self, recording: Recording, rejection: Rejected) -> Outcome:
        try:
            texts = find_texts(self._bucket, recording).values() if recording.in_place else ()
            source = self._source(recording, texts)
            if not self._put_error(recording, rejection):
                return Outcome.REPLACED
            if not recording.in_place and rejection.code is not ErrorCode.UNREADABLE:
                self._move(recording, source, recording.failed_key)
        except Rejected as refusal:  # S3 denies access to the audio itself
            rejection = refusal
            if not self._put_error(recording, rejection):
                return Outcome.REPLACED
        log(
            "rejected",
            level="warning",
            key=recording.source_key,
            code=rejection.code.value,
            reason=rejection.reason,
            detail=rejection.detail,
        )
        return Outcome.UNREADABLE if rejection.code is ErrorCode.UNREADABLE else Outcome.REJECTED

    def _put_error(self, recording: Recording, rejection: Rejected) -> bool:
        """Write the error document, unless a newer upload has one. Return whether it was written."""
        document = ErrorDocument(
            code=rejection.code.value,
            reason=rejection.reason,
            detail=rejection.detail,
            source_key=recording.source_key,
            source_etag=recording.source_etag,
            uploaded=recording.uploaded.isoformat(),
            run=self._provenance.run,
            made_by=self._provenance.made_by(),
        )
        metadata = self._provenance.metadata(recording)
        for _ in range(ATTEMPTS):
            found = self._bucket.find(recording.error_key)
            if _is_newer(found, recording):
                return False
            with suppress(Changed):
                self._bucket.put(recording.error_key, document.to_bytes(), CONTENT_TYPES["json"], metadata, found)
                return True
        raise RecordingFailed(f"Other workers changed {recording.error_key} {ATTEMPTS} times")

    # Vanished

    def _vanished(self, recording: Recording) -> Outcome:
        """Find out why the source is missing. Another worker may have processed it."""
        processed = self._bucket.find(recording.processed_key)
        if not recording.in_place and _is_of_version(processed, recording):
            self._clear_failures(recording)
            return Outcome.TRANSCRIBED
        texts = find_texts(self._bucket, recording).values()
        if any(
            _is_newer(found, recording) for found in (processed, *(text for text in texts if is_own(text, recording)))
        ):
            return Outcome.REPLACED
        if _is_of_version(self._bucket.find(recording.failed_key), recording):
            return Outcome.REJECTED
        written = self._put_error(recording, Rejected(ErrorCode.VANISHED, VANISHED))
        return Outcome.VANISHED if written else Outcome.REPLACED

    # The audio

    def _source(self, recording: Recording, texts: Iterable[ObjectFacts | None] = ()) -> ObjectFacts:
        """Check that the recording is the newest version.

        Args:
            texts: what is at its transcript keys. For a recording in place it may belong to a newer upload, whose
                audio is not in `processed/` yet.

        Raises:
            Gone, Replaced: it is not.
            Rejected: S3 refuses the audio.
        """
        source = Source(self._bucket, recording).facts()
        if recording.in_place and any(is_own(text, recording) and _is_newer(text, recording) for text in texts):
            raise Replaced(recording.source_key)
        return source

    def _move(self, recording: Recording, source: ObjectFacts, target: str) -> None:
        added = {results.SOURCE_ETAG: recording.source_etag, results.UPLOADED: recording.uploaded.isoformat()}
        Source(self._bucket, recording).move(source, target, added)


def _is_newer(found: ObjectFacts | None, recording: Recording) -> bool:
    """Whether an object belongs to a later upload."""
    uploaded = _uploaded(found)
    return uploaded is not None and uploaded > recording.uploaded


def _is_superseded(found: ObjectFacts, recording: Recording) -> bool:
    """Whether an object belongs to an earlier upload, or to this one."""
    uploaded = _uploaded(found)
    if uploaded is None:
        return False
    return uploaded < recording.uploaded or (uploaded == recording.uploaded and _is_of_version(found, recording))


def _is_of_version(found: ObjectFacts | None, recording: Recording) -> bool:
    return found is not None and Owner.of(found.metadata).etag == recording.source_etag


def _uploaded(found: ObjectFacts | None) -> datetime | None:
    return Owner.of(found.metadata).uploaded if found else None
