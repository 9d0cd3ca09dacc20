"""DeepSpeech's decoder gets the model's alphabet and gives words with times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from deepspeech_batched.acoustics import Acoustics
from deepspeech_batched.batching import probabilities
from deepspeech_batched.decoding import Decoder, DecoderError, Transcript
from deepspeech_batched.features import Features
from deepspeech_batched.model import AcousticModel, Floats
from tests.batched_engine.conftest import MODEL

SCORER = str(MODEL.with_suffix(".scorer"))
TEXT = "after the tone say your temporary message and then press the pound key"


@pytest.fixture(scope="module")
def letters(tflite: AcousticModel, speech: npt.NDArray[np.int16]) -> Floats:
    [(_, found)] = probabilities(Acoustics(tflite), Features(tflite.features), [speech])
    return found


def text(transcript: Transcript) -> str:
    return "".join(token.text for token in transcript.tokens)


def test_a_scorer_makes_words_of_the_letters(tflite: AcousticModel, letters: Floats) -> None:
    [best] = Decoder(tflite, SCORER).decode(letters, 1)
    assert text(best) == TEXT


def test_several_transcripts_come_in_the_order_of_their_scores(tflite: AcousticModel, letters: Floats) -> None:
    found = Decoder(tflite, SCORER).decode(letters, 5)
    assert len(found) == 5
    assert found[0] == Decoder(tflite, SCORER).decode(letters, 1)[0]
    assert [one.confidence for one in found] == sorted((one.confidence for one in found), reverse=True)


def test_a_letters_time_is_that_of_its_frame(tflite: AcousticModel, letters: Floats) -> None:
    [best] = Decoder(tflite, SCORER).decode(letters, 1)
    starts = [token.start_time for token in best.tokens]
    assert starts == sorted(starts)
    assert all(round(start / 0.02, 3) == round(start / 0.02) for start in starts)
    assert starts[-1] < len(letters) * 0.02


def test_the_options_change_the_result(tflite: AcousticModel, letters: Floats) -> None:
    usual = Decoder(tflite, SCORER).decode(letters, 1)[0]
    others = [
        Decoder(tflite, SCORER, weights=(0.1, 4.0)),
        Decoder(tflite, SCORER, beam_width=2),
        Decoder(tflite, SCORER, hot_words={"press": -50.0}),
    ]
    assert usual not in [other.decode(letters, 1)[0] for other in others]
    assert "press" not in text(others[2].decode(letters, 1)[0])


def test_a_file_that_is_no_scorer_is_an_error_with_deepspeechs_code(tflite: AcousticModel, tmp_path: Path) -> None:
    path = tmp_path / "scorer"
    path.write_bytes(b"no scorer" * 500)
    for scorer in (str(path), str(tmp_path / "none")):
        with pytest.raises(DecoderError, match="0x2"):
            Decoder(tflite, scorer)
