"""Fetches the corrected recordings of a bucket: pieces of audio with their texts, as `dataset` reads them.

A recording that is short is one piece. A longer one, or one with separate channels, is cut at the pauses between the
corrected words, whose times come from the machine's.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from botocore.exceptions import ClientError

from transcriber.audio import Audio
from transcriber.failures import Rejected
from transcriber.samples import Samples
from transcription_contract import layout, results
from transcription_contract.correction import Correction
from transcription_contract.words import TimedWord, Word, joined
from transcripts_page.alignment import turns

from .dataset import MAX_SECONDS, DatasetError, write_wav

SAMPLE_RATE = 16_000
PIECE_SECONDS = 15.0
"""A longer stretch of speech is cut at its longest pause."""
_EDGE_SECONDS = 0.2  # audio before the first and after the last word of a piece
_LONGEST_NAME = 120


class Piece(NamedTuple):
    """A stretch of a recording with its text. Times are in seconds."""

    start: float
    end: float
    channel: int | None
    """Counted from 1; None means all channels, mixed."""
    text: str


class _Spoken(NamedTuple):
    """A corrected word as a text needs it, and with its channel."""

    word: Word
    channel: int | None


def fetch(s3: Any, url: str, folder: Path) -> list[str]:
    """Write the corrected recordings of a bucket into a folder.

    Args:
        s3: A boto3 client of S3.
        url: Such as `s3://bucket/`, or `s3://bucket/calls/` for the recordings of a folder below `input/`.
        folder: It is empty.

    Returns:
        A sentence for each corrected recording that is left out.

    Raises:
        DatasetError: the address is no bucket's, or nothing there is corrected.
    """
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    if not bucket:
        raise DatasetError([f"DATA is {url}, which names no bucket. Write s3://bucket/"])
    left_out = []
    written = 0
    for correction in _corrections(s3, bucket, prefix):
        try:
            written += _write(s3, bucket, correction, folder)
        except _LeftOut as reason:
            left_out.append(f"s3://{bucket}/{layout.processed_key(correction.name)}: {reason}")
    if not written:
        raise DatasetError([*left_out, f"{url} has no corrected recordings. Correct some on the Transcripts page"])
    return left_out


class _LeftOut(Exception):
    """A corrected recording cannot be used. The message says why."""


def _corrections(s3: Any, bucket: str, prefix: str) -> Iterator[Correction]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=layout.CORRECTIONS + prefix)
    for page in pages:
        for item in page.get("Contents", ()):
            correction = Correction.read(s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())
            if correction:
                yield correction


def _write(s3: Any, bucket: str, correction: Correction, folder: Path) -> int:
    """Write the pieces of a recording. Return their number."""
    found = list(pieces(correction))
    if not found:
        raise _LeftOut(
            f"it has {correction.audio_seconds:.0f} s and no word times to cut it by. "
            "Transcribe it again with the output format json"
        )
    with tempfile.TemporaryFile() as audio:
        key = layout.processed_key(correction.name)
        try:
            head = s3.head_object(Bucket=bucket, Key=key)
            if head["Metadata"].get(results.SOURCE_ETAG) != correction.source_etag:
                raise _LeftOut("a newer version was uploaded since the correction. Correct that")
            s3.download_fileobj(bucket, key, audio)
        except ClientError as error:
            raise _LeftOut(f"S3 does not give the audio: {error}") from error
        separate = found[0].channel is not None
        audio.seek(0)
        try:
            samples = np.concatenate(list(Audio(audio, SAMPLE_RATE, separate).chunks()))
        except Rejected as rejected:
            raise _LeftOut(rejected.reason) from rejected
    for number, piece in enumerate(found):
        name = f"{_file_name(correction.name)}-{number:04}"
        write_wav(_cut(samples, piece), SAMPLE_RATE, folder / f"{name}.wav")
        (folder / f"{name}.txt").write_text(piece.text + "\n", "utf-8")
    return len(found)


def pieces(correction: Correction) -> Iterator[Piece]:
    """The pieces of a corrected recording; none if it is long and its words have no times."""
    if correction.audio_seconds <= MAX_SECONDS and not correction.speakers:
        yield Piece(0.0, correction.audio_seconds, None, " ".join(correction.text.split()))
        return
    spoken = _spoken(correction)
    for channel, words in groupby(sorted(spoken, key=lambda word: word.channel or 0), key=lambda word: word.channel):
        for stretch in _stretches([word for word, _ in words]):
            start, end = stretch[0].start - _EDGE_SECONDS, stretch[-1].end + _EDGE_SECONDS
            yield Piece(max(start, 0.0), min(end, correction.audio_seconds), channel, joined(stretch))


def _spoken(correction: Correction) -> list[_Spoken]:
    words: Sequence[TimedWord] = correction.words
    written = [word for turn in turns(correction.text, words, speakers=correction.speakers) for word in turn.words]
    channels = (word.channel if correction.speakers else None for word in words)
    return [_Spoken(word, channel) for word, channel in zip(written, channels, strict=True)]


def _stretches(words: list[Word]) -> Iterator[list[Word]]:
    """Cut words at the longest pauses until each stretch has at most `PIECE_SECONDS`, or one word."""
    waiting = [words]
    while waiting:
        stretch = waiting.pop()
        if len(stretch) == 1 or stretch[-1].end - stretch[0].start <= PIECE_SECONDS:
            yield stretch
            continue
        pauses = [after.start - before.end for before, after in pairwise(stretch)]
        cut = pauses.index(max(pauses)) + 1
        waiting += [stretch[cut:], stretch[:cut]]


def _cut(samples: Samples, piece: Piece) -> Samples:
    column = 0 if piece.channel is None else piece.channel - 1
    return samples[round(piece.start * SAMPLE_RATE) : round(piece.end * SAMPLE_RATE) + 1, column]


def _file_name(name: str) -> str:
    """The recording's name as one that every file system takes, and no other recording has."""
    readable = quote(name, safe=" ")[:_LONGEST_NAME]
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip(".")
