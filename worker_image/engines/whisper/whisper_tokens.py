"""Completes a model's folder: CTranslate2 needs a vocabulary, faster-whisper a tokenizer; converters write either."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

VOCABULARIES = ("vocabulary.json", "vocabulary.txt")
TOKENIZER = "tokenizer.json"
FIRST_SPECIAL = "<|endoftext|>"


def completed(folder: Path) -> Path:
    """The folder, or a new one with links to its files and with what it lacks."""
    vocabulary = next((folder / name for name in VOCABULARIES if (folder / name).is_file()), None)
    tokenizer = folder / TOKENIZER
    if vocabulary and tokenizer.is_file():
        return folder
    new = Path(tempfile.mkdtemp(prefix="whisper-"))
    for path in folder.iterdir():
        (new / path.name).symlink_to(path.resolve())
    if vocabulary:
        tokenizer_of(words_of(vocabulary)).save(str(new / TOKENIZER))
    else:
        known = Tokenizer.from_file(str(tokenizer)).get_vocab()
        (new / VOCABULARIES[0]).write_text(json.dumps(sorted(known, key=known.__getitem__)), "utf-8")
    return new


def words_of(vocabulary: Path) -> list[str]:
    """The tokens of a vocabulary in the order of their numbers."""
    text = vocabulary.read_text("utf-8")
    if vocabulary.suffix == ".json":
        found: list[str] = json.loads(text)
        return found
    return text.removesuffix("\n").split("\n")


def tokenizer_of(vocabulary: list[str]) -> Tokenizer:
    """The tokenizer of a vocabulary: byte pair encoding, whose merges follow from the order of the tokens.

    A token of several letters is made of the two earlier tokens into which the earlier merges turn its letters.
    """
    ends = vocabulary.index(FIRST_SPECIAL)
    ranks = {token: rank for rank, token in enumerate(vocabulary[:ends])}
    merges = [pair for token in ranks if len(token) > 1 and (pair := _pair(token, ranks)) is not None]
    tokenizer = Tokenizer(models.BPE(vocab=ranks, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in vocabulary[ends:]])
    return tokenizer


def _pair(token: str, ranks: dict[str, int]) -> tuple[str, str] | None:
    """The two tokens that the token is merged from; None if there are none."""
    parts = list(token)
    while len(parts) > 2:
        pairs = [(ranks.get(a + b, ranks[token]), at) for at, (a, b) in enumerate(zip(parts, parts[1:]))]
        rank, at = min(pairs)
        if rank >= ranks[token]:
            return None
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return (parts[0], parts[1]) if all(part in ranks for part in parts) else None
