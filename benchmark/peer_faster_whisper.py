"""faster-whisper on one thread, in int8: `python peer_faster_whisper.py [--batched] MODEL FILE…`.

Prints lines like bare.py. --batched uses its batched pipeline with word times, whose batch size is 8 by default.
"""

from __future__ import annotations

import json
import sys
import wave
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_whisper import BatchedInferencePipeline, WhisperModel  # type: ignore[import-not-found]


def transcribed(model: Any, samples: npt.NDArray[np.float32], batched: bool) -> Iterable[Any]:
    """The segments of mono samples of shape (n,) at 16 kHz."""
    if batched:
        pipeline = BatchedInferencePipeline(model)
        return pipeline.transcribe(samples, language="en", word_timestamps=True)[0]
    return model.transcribe(samples, language="en")[0]


def main(arguments: list[str]) -> None:
    batched = arguments[0] == "--batched"
    path, *files = arguments[batched:]
    model = WhisperModel(path, device="cpu", compute_type="int8", cpu_threads=1)
    for file in files:
        with wave.open(file) as recording:
            samples = np.frombuffer(recording.readframes(recording.getnframes()), np.int16)
        segments = transcribed(model, (samples / 32768).astype(np.float32), batched)
        print(json.dumps({"file": file, "text": " ".join(segment.text for segment in segments)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
