"""The lower limit of the cost: load a model once and call `Model.stt()` in a loop.

`python bare.py LOOPS MODEL SCORER FILE…` prints a JSON line with file and text for each WAV (16 kHz mono). LOOPS is the
number of processes that share the files. SCORER is a path or `none`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import wave

import numpy as np
from deepspeech import Model


def main(loops: str, path: str, scorer: str, *files: str) -> None:
    if int(loops) > 1:
        side_by_side(int(loops), [path, scorer], files)
        return
    model = Model(path)
    if scorer != "none":
        model.enableExternalScorer(scorer)
    for file in files:
        with wave.open(file) as recording:
            samples = np.frombuffer(recording.readframes(recording.getnframes()), np.int16)
        print(json.dumps({"file": file, "text": model.stt(samples)}), flush=True)


def side_by_side(loops: int, arguments: list[str], files: tuple[str, ...]) -> None:
    running = [
        subprocess.Popen([sys.executable, __file__, "1", *arguments, *files[number::loops]]) for number in range(loops)
    ]
    for loop in running:
        if loop.wait():
            raise RuntimeError("A process of the loop failed. Its error is above.")


if __name__ == "__main__":
    main(*sys.argv[1:])
