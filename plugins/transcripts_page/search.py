"""Search over all runs by words or by name: the newest run first, of each recording its newest transcript."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from transcripts_page.catalogue import Catalogue
from transcripts_page.newest import CorrectedHit, Newest
from transcripts_page.run_index import Hit, RunIndex


@dataclass(frozen=True)
class Page:
    """A page of hits."""

    hits: list[Hit]
    more: bool
    """Whether another page follows."""


def by_words(catalogue: Catalogue, words: str, *, limit: int = 20, offset: int = 0) -> Page:
    """Recordings whose newest text has the words. A correction counts instead of the machine's text.

    Args:
        catalogue: Of the bucket.
        words: As a user types them: all of them count, phrases in quotes, `word*` for its beginning.
        limit: How many hits.
        offset: How many to leave out before.
    """
    return _page(_by_words(catalogue, words, offset + limit + 1), limit, offset)


def by_name(catalogue: Catalogue, part: str, *, limit: int = 20, offset: int = 0) -> Page:
    """Recordings whose name has the part in it, in capitals or not, in any state.

    Args:
        catalogue: Of the bucket.
        part: Of the name.
        limit: How many hits.
        offset: How many to leave out before.
    """
    newest = catalogue.newest()
    found = newest.search_names(part, limit=limit + 1, offset=offset)
    indexes = {index.number: index for index in newest.indexes()}
    names: defaultdict[int, list[str]] = defaultdict(list)
    for name, number in found[:limit]:
        names[number].append(name)
    hits: dict[str, Hit] = {}
    for number, some in names.items():
        with catalogue.opened(indexes[number]) as index:
            hits.update({name: hit for name in some if index and (hit := _hit(index, name))})
    return Page([hits[name] for name, _ in found[:limit] if name in hits], more=len(found) > limit)


def _by_words(catalogue: Catalogue, words: str, most: int) -> Iterator[Hit]:
    """At most `most` hits of each index, and of the corrections."""
    newest = catalogue.newest()
    corrected = _corrected(newest, words, most)
    for known in newest.indexes():
        with catalogue.opened(known) as index:
            if index is None:
                continue
            for found in corrected[known.number]:
                if hit := _hit(index, found.name):
                    yield hit._replace(passages=found.passages, corrected=True)
            yield from index.search(words, limit=most, newest=newest.newest_in(known))


def _corrected(newest: Newest, words: str, most: int) -> defaultdict[int, list[CorrectedHit]]:
    """Hits among the corrections, by the index with the recording's newest transcript."""
    found: defaultdict[int, list[CorrectedHit]] = defaultdict(list)
    for hit in newest.search_corrections(words, most):
        found[hit.number].append(hit)
    return found


def _hit(index: RunIndex, name: str) -> Hit | None:
    entry = index.recording(name)
    return Hit(index.about.run_id, index.about.plan_id, entry) if entry else None


def _page(found: Iterator[Hit], limit: int, offset: int) -> Page:
    hits = list(islice(found, offset, offset + limit + 1))
    return Page(hits[:limit], more=len(hits) > limit)
