"""Makes a scorer: a KenLM language model, followed by an automaton of the vocabulary.

KenLM's programs estimate the language model. This module appends a header and an OpenFst `ConstFst` of the words'
letters, as DeepSpeech's `generate_scorer_package` does. No package registry has that program. The source of the format
is native_client/ctcdecode/scorer.cpp.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ORDER = 3
# Mozilla's best values for English. A run's lm_alpha and lm_beta override them.
ALPHA, BETA = 0.931289039105002, 1.1834137581510284

States = list[list[tuple[int, int]]]


class ScorerError(Exception):
    """A KenLM program failed. The message has its last line of output."""


def build_scorer(texts: Iterable[str], alphabet: Sequence[str], kenlm: Path, scratch: Path, scorer: Path) -> None:
    """Estimate a language model of the texts, and write the scorer with the words of the texts.

    Args:
        texts: normalised sentences.
        alphabet: the model's letters in the order of its labels.
        kenlm: folder of KenLM's programs.
        scratch: folder for intermediate files.
        scorer: the file to write.

    Raises:
        ScorerError: KenLM failed, for example because there is too little text.
    """
    sentences = list(texts)
    text, arpa, binary = (scratch / f"lm.{kind}" for kind in ("txt", "arpa", "binary"))
    text.write_text("".join(f"{sentence}\n" for sentence in sentences), "utf-8")
    limits = ("--memory", "10%", "--temp_prefix", f"{scratch}/")
    _run(
        kenlm, "lmplz", "--order", str(ORDER), "--discount_fallback", *limits, "--text", str(text), "--arpa", str(arpa)
    )
    # -v omits the vocabulary strings: DeepSpeech expects its header directly after the probabilities.
    _run(kenlm, "build_binary", "-v", "-T", f"{scratch}/", "trie", str(arpa), str(binary))
    words = {word for sentence in sentences for word in sentence.split()}
    package = binary.read_bytes() + _header()
    scorer.write_bytes(package + const_fst(automaton(words, alphabet), len(package)))


def _run(kenlm: Path, program: str, *arguments: str) -> None:
    done = subprocess.run([str(kenlm / program), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ScorerError(f"KenLM's {program} failed: {(done.stderr.strip().splitlines() or ['no error message'])[-1]}")


def _header() -> bytes:
    utf8_mode = False
    return b"EIRT" + struct.pack("<i?dd", 6, utf8_mode, ALPHA, BETA)


def automaton(words: Iterable[str], alphabet: Sequence[str]) -> States:
    """The minimal automaton that accepts each word followed by a space, and nothing else.

    Returns:
        for each state its arcs as (letter's label + 1, next state), ordered by label. State 0 is the final state, and
        the last state is the start state.
    """
    labels = {letter: label + 1 for label, letter in enumerate(alphabet)}
    trie: dict[int, Any] = {}
    for word in words:
        node = trie
        for letter in f"{word} ":
            node = node.setdefault(labels[letter], {})
    states: dict[tuple[tuple[int, int], ...], int] = {(): 0}
    _number(trie, states)
    return [list(arcs) for arcs in states]


def _number(node: Mapping[int, Any], states: dict[tuple[tuple[int, int], ...], int]) -> int:
    """The state number of a trie node. Nodes with the same continuations share a state."""
    arcs = tuple((label, _number(node[label], states)) for label in sorted(node))
    return states.setdefault(arcs, len(states))


# OpenFst's fst/properties.h: expanded, acceptor, deterministic and sorted on both sides, without epsilons or weights,
# acyclic, accessible and coaccessible.
_PROPERTIES = sum(1 << bit for bit in (0, 16, 18, 20, 23, 25, 27, 28, 30, 33, 35, 37, 40, 42))
_ALIGNED = 4


def const_fst(states: States, offset: int) -> bytes:
    """The automaton in the format of OpenFst's `ConstFst<StdArc>`, aligned for position `offset` in a file."""
    content = struct.pack("<i", 2125659606)
    for name in (b"const", b"standard"):
        content += struct.pack("<i", len(name)) + name
    arcs = [arc for leaving in states for arc in leaving]
    content += struct.pack("<iiQqqq", 1, _ALIGNED, _PROPERTIES, len(states) - 1, len(states), len(arcs))
    content += _padding(offset + len(content))
    first = 0
    table = bytearray()
    for leaving in states:
        table += struct.pack("<fIIII", float("inf") if leaving else 0.0, first, len(leaving), 0, 0)
        first += len(leaving)
    content += table
    content += _padding(offset + len(content))
    return content + b"".join(struct.pack("<iifi", label, label, 0.0, state) for label, state in arcs)


def _padding(position: int) -> bytes:
    return b"\0" * (-position % 16)
