"""A recording's object in the bucket. If S3 denies access to it, only this recording is affected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO

from transcription_contract.manifest import Recording
from transcription_contract.results import ErrorCode

from .failures import Refused, Rejected, Replaced
from .storage import Bucket, ObjectFacts

ARCHIVED_CODES = ("InvalidObjectState", "ObjectNotInActiveTierError")


class Source:
    """The planned version of a recording's audio.

    Every method raises
        Gone: there is no object under the key.
        Replaced: another version is there.
        Rejected: S3 refuses the object; the code is `unreadable`.
    """

    def __init__(self, bucket: Bucket, recording: Recording) -> None:
        self._bucket = bucket
        self._key = recording.source_key
        self._etag = recording.source_etag
        self._size = recording.source_size

    def facts(self) -> ObjectFacts:
        """Check that the planned version still exists."""
        with _unreadable():
            try:
                facts = self._bucket.facts(self._key)
            except Refused:
                self._bucket.probe(self._key)  # the reason is in the body, and the response to a HEAD request has none
                raise
        if (facts.etag, facts.size) != (self._etag, self._size):
            raise Replaced(self._key)
        return facts

    def download(self, target: BinaryIO) -> None:
        """Write the audio to an open file."""
        with _unreadable():
            self._bucket.download(self._key, self._etag, self._size, target)

    def move(self, facts: ObjectFacts, target: str, added: Mapping[str, str]) -> None:
        """Copy the audio with its tags and metadata to another key, then delete it here."""
        try:
            self._bucket.copy(self._key, facts, target, added)
        except Refused:
            with _unreadable():  # S3 does not say which of the two objects it denies
                self._bucket.probe(self._key)
            raise
        with _unreadable():
            self._bucket.delete(self._key, self._etag)


@contextmanager
def _unreadable() -> Iterator[None]:
    try:
        yield
    except Refused as refusal:
        raise Rejected(ErrorCode.UNREADABLE, _advice(refusal), str(refusal)) from refusal


def _advice(refusal: Refused) -> str:
    refused = f"S3 refuses this recording ({refusal.code}: {refusal.message})."
    if refusal.code in ARCHIVED_CODES:
        return f"{refused} It is archived. Restore it; a later run then transcribes it."
    if refusal.code.startswith("KMS") or "kms" in refusal.message.lower():
        return f"{refused} Allow the worker's job role to use the object's KMS key, or upload it with the bucket's key."
    return f"{refused} Check what the policies of the bucket and of the object allow the worker's job role."
