"""Choose the key of a recording's transcript, and read the objects at its possible keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from transcription_contract import layout
from transcription_contract.manifest import Recording
from transcription_contract.results import ErrorCode, Owner, recording_id

from .failures import Rejected
from .storage import Bucket, ObjectFacts

Found = Mapping[str, ObjectFacts | None]
"""Objects by key. None means that there is no object."""


@dataclass(frozen=True)
class TranscriptPlace:
    """The key of the text, and the bucket as it was when the key was chosen."""

    key: str
    texts: Found
    """The recording's possible transcript keys."""
    outputs: Found
    """The text and every extra format at this place, requested or not."""


def find_texts(bucket: Bucket, recording: Recording) -> Found:
    """Read the facts of the objects at each possible key of the transcript."""
    return {key: bucket.find(key) for key in recording.transcript_keys}


def is_own(found: ObjectFacts | None, recording: Recording) -> bool:
    """Whether an object is an output of this recording. An object without metadata is a user's own file."""
    return found is not None and Owner.of(found.metadata).recording == recording_id(recording.name)


def extra_keys(transcript_key: str) -> list[str]:
    """Keys of all extra formats beside a text."""
    return [layout.format_key(transcript_key, form) for form in layout.EXTRA_FORMATS]


def choose_place(bucket: Bucket, recording: Recording, formats: Sequence[str]) -> TranscriptPlace:
    """Choose a key at which the text and the requested formats replace no other recording's or user's object.

    A key that the recording owns comes first, then the shorter key if it is free, then the whole name.

    Raises:
        Rejected: objects of somebody else have all these keys; the code is `name-taken`.
    """
    texts = find_texts(bucket, recording)
    taken = ""
    for key in _candidates(recording, texts):
        outputs = {key: texts[key], **{extra: bucket.find(extra) for extra in extra_keys(key)}}
        wanted = [key, *(layout.format_key(key, form) for form in formats)]
        foreign = [name for name in wanted if outputs[name] and not is_own(outputs[name], recording)]
        if not foreign:
            return TranscriptPlace(key, texts, outputs)
        taken = foreign[0]
    raise Rejected(
        ErrorCode.NAME_TAKEN,
        f"{taken} is not a transcript of this recording, and its transcript needs that key. "
        "Rename or remove that object, and upload the recording again.",
    )


def _candidates(recording: Recording, texts: Found) -> list[str]:
    def ordered() -> Iterator[str]:
        yield from (key for key in texts if is_own(texts[key], recording))
        stem, whole = recording.transcript_keys[0], recording.transcript_keys[-1]
        if texts[stem] is None and not recording.keeps_extension:
            yield stem
        yield whole

    return list(dict.fromkeys(ordered()))
