"""pocketsphinx with its package's English model: `python peer_pocketsphinx.py FILE…`. Prints lines like bare.py."""

from __future__ import annotations

import json
import sys
import wave

from pocketsphinx import Decoder  # type: ignore[import-not-found]

if __name__ == "__main__":
    decoder = Decoder(samprate=16000, loglevel="FATAL")
    for file in sys.argv[1:]:
        with wave.open(file) as recording:
            samples = recording.readframes(recording.getnframes())
        decoder.start_utt()
        decoder.process_raw(samples, full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        print(json.dumps({"file": file, "text": found.hypstr if found else ""}), flush=True)
