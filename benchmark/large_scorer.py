"""Makes a large scorer for the full-size model: `python -m benchmark.large_scorer TFLITE KENLM OUT`.

A scorer's cost depends on its size, and no package registry has a large one for this model. This one has the English
words of the package wordfreq, in the model's Armenian letters: the benchmark's recordings are English, so the decoder
finds these words in what the model hears. The text consists of each word once, and of sentences of random words that
are as frequent as in wordfreq. So the words and pairs of words have realistic frequencies, but no grammar.
"""

from __future__ import annotations

import gzip
import struct
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import msgpack  # type: ignore[import-not-found]
import numpy as np

from benchmark.full_size import strings, tensors
from fine_tuning.scorer import build_scorer

# How an English letter is written in Armenian, by sound.
LETTERS = dict(zip("abcdefghijklmnopqrstvwxyz", "աբցդեֆգհիջկլմնոպքրստվվխյզ"), u="ու")
SENTENCES, WORDS_PER_SENTENCE = 400_000, 8


def main(model: str, kenlm: str, out: str) -> None:
    words = frequencies()
    print(f"a scorer of {len(words):,} words", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        build_scorer(sentences(words), alphabet(Path(model)), Path(kenlm), Path(scratch), Path(out))


def frequencies() -> dict[str, float]:
    """The relative frequency of each word, in Armenian letters. Words with other than English letters are left out."""
    # The file is read as it is, because the package's own functions need many other packages.
    data = Path(str(metadata.distribution("wordfreq").locate_file("wordfreq/data/large_en.msgpack.gz")))
    # After a header, each entry has the words whose frequency is 10 ** (-position / 100).
    _, *by_centibels = msgpack.unpackb(gzip.decompress(data.read_bytes()))
    words: dict[str, float] = {}
    for centibels, some in enumerate(by_centibels):
        for word in some:
            if LETTERS.keys() >= set(word):
                written = "".join(LETTERS[letter] for letter in word)
                words[written] = words.get(written, 0.0) + 10 ** (-centibels / 100)
    return words


def sentences(words: dict[str, float]) -> Iterator[str]:
    """The text: the same one each time."""
    yield from words
    chance = np.random.default_rng(7)
    known, weights = np.array(list(words)), np.array(list(words.values()))
    for _ in range(SENTENCES // 1000):
        for some in chance.choice(known, (1000, WORDS_PER_SENTENCE), p=weights / weights.sum()):
            yield " ".join(some)


def alphabet(model: Path) -> list[str]:
    """The model's letters in the order of its labels (native_client/alphabet.cc describes the format)."""
    [content] = strings(tensors(model.read_bytes())["metadata_alphabet_copy"][1].tobytes())
    (count,) = struct.unpack_from("<H", content)
    letters, position = [""] * count, 2
    for _ in range(count):
        label, length = struct.unpack_from("<HH", content, position)
        position += 4
        letters[label] = content[position : position + length].decode()
        position += length
    return letters


if __name__ == "__main__":
    main(*sys.argv[1:])
