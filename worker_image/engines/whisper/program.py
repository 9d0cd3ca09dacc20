"""Whisper as an engine (docs/engines.md): CTranslate2 in int8, one thread, by the parts of faster-whisper.

A voice detector goes in front of the model: what is no speech is not transcribed. Behind it stand the model's own
measures: a window that it takes for no speech is dropped, and one whose text repeats itself without end is recognised
again without repetitions. Speech that a text leaves out is recognised again. One window at a time costs the least on a
CPU, in processes side by side (docs/decisions/0018-whisper-one-window-at-a-time.md).
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from engine_protocol import Refused, Samples, serve
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens, merge_punctuations
from faster_whisper.vad import VadOptions, get_speech_timestamps
from speech_windows import RATE, WINDOW_SECONDS, Audio, Stretch, Window, left_out, next_window, trimmed
from whisper_tokens import completed

AUTO = "auto"
ENGLISH = "en"
BEAM = 5  # as faster-whisper's default
LEAST_SAMPLES = 1600  # of speech, 0.1 s
# Four windows of speech at most, with room for what the packing wastes.
PIECE_SECONDS = {"least": 100.0, "most": 116.0, "silence": 60.0}
# A window is dropped if the model takes it for no speech and is unsure of the text, as in OpenAI's program.
NO_SPEECH, UNSURE = 0.6, -1.0
# A text that compresses better than this repeats itself, as in OpenAI's program. People do that, too, but no faster
# than they speak: nobody says so many tokens a second.
REPETITIVE, FASTER_THAN_SPEECH = 2.4, 13.0
LEAST_PART = 1.0  # seconds of each part of a window that is cut in two
LONGEST_MEDIAN = 0.7  # seconds of a word
# What belongs to the word after it, and to the word before it.
BEFORE = "\"'“¿([{-"
AFTER = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001


@dataclass(frozen=True)
class Heard:
    """What the model makes of a window."""

    tokens: list[int]
    score: float
    """Log probability of the tokens."""
    no_speech: float
    """Probability that the window has no speech."""

    @property
    def is_no_speech(self) -> bool:
        return self.no_speech > NO_SPEECH and self.score / (len(self.tokens) + 1) < UNSURE


class Word(NamedTuple):
    """A word and its times in seconds."""

    text: str
    """With the space before it, if there is one."""
    start: float
    end: float
    probability: float


class Whisper:
    """A loaded model.

    Args:
        given: The worker's first message.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        folder = Path(given["model"])
        try:
            self._model = WhisperModel(
                str(completed(folder)), device="cpu", compute_type="int8", cpu_threads=1, num_workers=1
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise Refused(f"The model {folder} cannot be used: {error}") from error
        self._is_multilingual: bool = self._model.model.is_multilingual
        self._language = self._language_of(given["options"].get("language"))
        boosts: dict[str, float] = given["options"].get("hot_words", {})
        self._hot_words = " ".join(word for word, boost in boosts.items() if boost > 0) or None
        self._tokenizers: dict[str, Tokenizer] = {}
        self.facts = {
            "name": "whisper",
            "version": version("ctranslate2"),
            "sample_rate": RATE,
            "piece_seconds": PIECE_SECONDS,
            "pieces": 1,
            "certainty": "probability",
        }

    def _language_of(self, option: str | None) -> str | None:
        """The language that is spoken, or None if each piece tells."""
        if not self._is_multilingual:
            if option not in (None, AUTO, ENGLISH):
                raise Refused(f"This Whisper model knows English only, and language is {option!r}; leave it empty.")
            return ENGLISH
        return None if option in (None, AUTO) else option

    def recognise(self, pieces: Sequence[Samples]) -> list[list[dict[str, Any]]]:
        """The segments of each piece, one after the other."""
        return [self._segments(piece.astype(np.float32) / 32768) for piece in pieces]

    def _segments(self, piece: Audio) -> list[dict[str, Any]]:
        speech = speech_in(piece)
        language = self._language
        segments = []
        beginning: Window | None = None  # of a window, to be recognised by itself
        while speech or beginning:
            window, beginning = beginning or next_window(speech), None
            features = self._encoded(window.audio(piece))
            language = language or self._spoken_language(features)
            tokenizer = self._tokenizer(language)
            heard = self._heard(window, features, tokenizer)
            words = self._aligned(window, features, heard, tokenizer) if heard else []
            if not heard or not words:
                continue
            length = window.length / RATE
            start, end = left_out([word[:3] for word in words], length) or (length, length)
            at = start if start >= LEAST_PART else end  # where the next window starts
            if length - at >= LEAST_PART:
                before, rest = window.cut(at)
                speech.extendleft(reversed(rest.stretches))
                if at == end:
                    beginning = before
                    continue
                words = [word for word in words if word.start < at]
            if words:
                segments.append(_segment(window, words, heard.score, language))
        return segments

    def _encoded(self, audio: Audio) -> Any:
        """The encoder's output for a window."""
        return self._model.encode(pad_or_trim(self._model.feature_extractor(audio)[..., :-1]))

    def _spoken_language(self, features: Any) -> str:
        """The most probable language of a window, of which the first one decides for a piece."""
        token, _ = self._model.model.detect_language(features)[0][0]
        return str(token).removeprefix("<|").removesuffix("|>")

    def _tokenizer(self, language: str) -> Tokenizer:
        if language not in self._tokenizers:
            self._tokenizers[language] = Tokenizer(
                self._model.hf_tokenizer, self._is_multilingual, task="transcribe", language=language
            )
        return self._tokenizers[language]

    def _heard(self, window: Window, features: Any, tokenizer: Tokenizer) -> Heard | None:
        """The model's text for a window, or None if it is no speech."""
        heard = self._generated(features, tokenizer)
        if not heard.is_no_speech and _is_endless(heard, window, tokenizer):
            heard = self._generated(features, tokenizer, no_repeat_ngram_size=3)
        return None if heard.is_no_speech or _is_endless(heard, window, tokenizer) else heard

    def _generated(self, features: Any, tokenizer: Tokenizer, **more: Any) -> Heard:
        prompt = self._model.get_prompt(tokenizer, [], without_timestamps=True, hotwords=self._hot_words)
        [result] = self._model.model.generate(
            features,
            [prompt],
            beam_size=BEAM,
            max_length=self._model.max_length,
            suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
            return_scores=True,
            return_no_speech_prob=True,
            **more,
        )
        tokens = result.sequences_ids[0]
        return Heard(tokens, result.scores[0] * len(tokens), result.no_speech_prob)

    def _aligned(self, window: Window, features: Any, heard: Heard, tokenizer: Tokenizer) -> list[Word]:
        """The words with their times in the window, which may be too long."""
        tokens = [token for token in heard.tokens if token < tokenizer.eot]
        if not tokens:
            return []
        frames = min(window.length * self._model.frames_per_second // RATE + 1, WINDOW_SECONDS * 100)
        [found] = self._model.find_alignment(tokenizer, [tokens], features, [frames])
        merge_punctuations(found, BEFORE, AFTER)
        return [
            Word(word["word"], float(word["start"]), float(word["end"]), float(word["probability"]))
            for word in found
            if word["word"].strip()
        ]


def _segment(window: Window, words: Sequence[Word], score: float, language: str) -> dict[str, Any]:
    """A window's words as the worker wants them, with their times in the piece."""
    times = [(word.start, word.end) for word in words]
    longest = 2 * min(LONGEST_MEDIAN, statistics.median(end - start for start, end in times))
    placed = [window.times_in_piece(start, end) for start, end in trimmed(times, longest)]
    return {
        "start": window.start,
        "end": placed[-1][1],
        "words": [
            [word.text.strip(), round(start, 3), round(end, 3), word.probability, word.text[0].isspace()]
            for word, (start, end) in zip(words, placed, strict=True)
        ],
        "score": score,
        "language": language,
    }


def speech_in(piece: Audio) -> deque[Stretch]:
    """The stretches of speech, none longer than a window: Silero's voice detector."""
    if len(piece) < LEAST_SAMPLES:
        return deque()
    options = VadOptions(max_speech_duration_s=WINDOW_SECONDS, min_silence_duration_ms=160)
    found = get_speech_timestamps(piece, options, RATE)
    return deque((part["start"], part["end"]) for part in found if part["end"] - part["start"] >= LEAST_SAMPLES)


def _is_endless(heard: Heard, window: Window, tokenizer: Tokenizer) -> bool:
    """Whether the text repeats itself faster than anybody speaks."""
    is_fast = len(heard.tokens) > FASTER_THAN_SPEECH * max(1.0, window.length / RATE)
    return is_fast and bool(get_compression_ratio(tokenizer.decode(heard.tokens)) > REPETITIVE)


if __name__ == "__main__":
    serve(Whisper)
