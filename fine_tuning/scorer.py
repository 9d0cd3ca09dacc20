"""Makes a scorer: a KenLM language model, and behind it the automaton of the words that may be written.

KenLM's own programs estimate the language model. What DeepSpeech's `generate_scorer_package` appends to it is written
here, for that program is on no package registry (native_client/ctcdecode/scorer.cpp has the format): a header,
then an OpenFst `ConstFst` of the words' letters.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ORDER = 3
# What Mozilla found best for English; a run's lm_alpha and lm_beta override them.
ALPHA, BETA = 0.931289039105002, 1.1834137581510284

States = list[list[tuple[int, int]]]


class ScorerError(Exception):
    """KenLM refuses the texts; says why."""


def build_scorer(texts: Iterable[str], alphabet: Sequence[str], kenlm: Path, scratch: Path, scorer: Path) -> None:
    """Estimate a language model of the texts, and write it with its words.

    Args:
        texts: normalised sentences.
        alphabet: the model's letters in the order of its labels.
        kenlm: folder of KenLM's programs.
        scratch: folder for what comes between.

    Raises:
        ScorerError: there is too little text.
    """
    sentences = list(texts)
    text, arpa, binary = (scratch / f"lm.{kind}" for kind in ("txt", "arpa", "binary"))
    text.write_text("".join(f"{sentence}\n" for sentence in sentences), "utf-8")
    limits = ("--memory", "10%", "--temp_prefix", f"{scratch}/")
    _run(
        kenlm, "lmplz", "--order", str(ORDER), "--discount_fallback", *limits, "--text", str(text), "--arpa", str(arpa)
    )
    # -v leaves the words' spelling out: DeepSpeech looks for its part right behind the probabilities.
    _run(kenlm, "build_binary", "-v", "-T", f"{scratch}/", "trie", str(arpa), str(binary))
    words = {word for sentence in sentences for word in sentence.split()}
    package = binary.read_bytes() + _header()
    scorer.write_bytes(package + const_fst(automaton(words, alphabet), len(package)))


def _run(kenlm: Path, program: str, *arguments: str) -> None:
    done = subprocess.run([str(kenlm / program), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ScorerError(f"KenLM's {program} failed: {(done.stderr.strip().splitlines() or ['it says nothing'])[-1]}")


def _header() -> bytes:
    utf8_mode = False
    return b"EIRT" + struct.pack("<i?dd", 6, utf8_mode, ALPHA, BETA)


def automaton(words: Iterable[str], alphabet: Sequence[str]) -> States:
    """The least automaton that reads each word with a space behind it, and nothing else.

    Returns:
        for each state its arcs, as (letter's label + 1, next state), ordered by label; state 0 is the end, the last
        one the start.
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
    """A trie's state: nodes that can be followed by the same are one."""
    arcs = tuple((label, _number(node[label], states)) for label in sorted(node))
    return states.setdefault(arcs, len(states))


# OpenFst's fst/properties.h: expanded, acceptor, deterministic and sorted on both sides, without epsilons or weights,
# acyclic, accessible and coaccessible.
_PROPERTIES = sum(1 << bit for bit in (0, 16, 18, 20, 23, 25, 27, 28, 30, 33, 35, 37, 40, 42))
_ALIGNED = 4


def const_fst(states: States, offset: int) -> bytes:
    """An automaton as OpenFst's `ConstFst<StdArc>`; its tables are aligned for what stands at `offset` in a file."""
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
