"""The catalogue of runs and the search over all of them, on the bucket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.indexes import PLAN, put_run, rejected, transcribed
from transcription_contract import layout
from transcription_contract.correction import Correction
from transcripts_page import search
from transcripts_page.catalogue import Catalogue
from transcripts_page.corrections import Conflict, Corrections

MONDAY, TUESDAY, WEDNESDAY = (f"2026-11-{day}T01:30:00.000000+00:00" for day in (23, 24, 25))
Found = list[tuple[str, str]]


class Counted:
    """A client of S3 that counts its calls."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self._s3, name)


@pytest.fixture
def put_day(s3: Any, empty_bucket: str) -> Callable[..., None]:
    def put_day(day: str, *recordings: Any, run_id: str | None = None) -> None:
        put_run(s3, empty_bucket, run_id or f"scheduled__{day}", day, recordings)

    return put_day


@pytest.fixture
def catalogue(s3: Any, empty_bucket: str, tmp_path: Path) -> Catalogue:
    return Catalogue(s3, empty_bucket, tmp_path, refresh_seconds=3600)


@pytest.fixture
def by_words(catalogue: Catalogue) -> Callable[..., Found]:
    def by_words(words: str, **page: int) -> Found:
        return [(hit.run_id[-32:-22], hit.entry.name) for hit in search.by_words(catalogue, words, **page).hits]

    return by_words


def corrected(name: str, text: str, etag: str = "e") -> Correction:
    return Correction(name, etag, "ann", "2026-11-26T10:00:00+00:00", text, 60.0)


def test_the_newest_run_comes_first_with_its_totals(put_day: Any, catalogue: Catalogue) -> None:
    put_day(MONDAY, transcribed("a.wav", "one"))
    put_day(TUESDAY, transcribed("b.wav", "two"), rejected("c.wav"))
    newer, older = catalogue.runs()
    assert (newer.run_id, newer.plans, newer.estimated_usd, newer.finished, newer.has_index) == (
        f"scheduled__{TUESDAY}",
        (PLAN,),
        0.25,
        TUESDAY,
        True,
    )
    assert newer.totals["files"] == {"transcribed": 1, "rejected": 1}
    assert catalogue.run(older.run_id) == older
    assert catalogue.run("none") is None


def test_a_run_without_an_index_is_listed_and_says_so(
    put_day: Any, catalogue: Catalogue, s3: Any, empty_bucket: str
) -> None:
    put_day(MONDAY, transcribed("a.wav", "one"), run_id="old")
    s3.delete_object(Bucket=empty_bucket, Key=layout.search_index_key("old", PLAN))
    s3.put_object(Bucket=empty_bucket, Key="runs/notes/totals.json", Body=b'{"schema": 1}')
    [run] = catalogue.runs()
    assert not run.has_index
    with catalogue.index("old", PLAN) as index:
        assert index is None


def test_an_index_shows_recordings_by_state_and_name(put_day: Any, catalogue: Catalogue) -> None:
    put_day(MONDAY, transcribed("b%.wav", "one"), rejected("c_.wav"), transcribed("A.wav", "two words"), run_id="r")
    with catalogue.index("r", PLAN) as index:
        assert index is not None
        assert [entry.name for entry in index.recordings()] == ["A.wav", "b%.wav", "c_.wav"]
        assert [entry.name for entry in index.recordings(limit=1, offset=1)] == ["b%.wav"]
        assert [entry.reason for entry in index.recordings(state="rejected")] == ["No speech."]
        assert [entry.name for entry in index.recordings(name_part="%")] == ["b%.wav"]
        assert index.count(state="transcribed", name_part="a") == 2
        assert index.text("A.wav") == "two words"
        assert index.text("c_.wav") is None
        assert index.recording("none") is None
        assert [hit.entry.name for hit in index.search("words")] == ["A.wav"]


def test_words_are_found_in_all_runs_the_newest_first_with_the_place_in_the_audio(
    put_day: Any, catalogue: Catalogue, by_words: Any
) -> None:
    put_day(MONDAY, transcribed("a.wav", "please leave a message"), transcribed("x.wav", "nothing"))
    put_day(TUESDAY, transcribed("b.wav", "no message please"))
    assert by_words("please message") == [("2026-11-24", "b.wav"), ("2026-11-23", "a.wav")]
    hit = search.by_words(catalogue, "leave").hits[0]
    [passage] = hit.passages
    assert passage == ("please ", "leave", " a message", 2.0)
    assert by_words("absent") == []
    assert by_words("") == []


def test_pages_of_hits_follow_each_other(put_day: Any, catalogue: Catalogue, by_words: Any) -> None:
    put_day(MONDAY, *(transcribed(f"{number}.wav", "hello") for number in range(3)))
    put_day(TUESDAY, *(transcribed(f"{number}.wav", "hello") for number in range(3, 6)))
    pages = [by_words("hello", limit=2, offset=offset) for offset in (0, 2, 4)]
    assert sorted(name for page in pages for _, name in page) == [f"{number}.wav" for number in range(6)]
    assert search.by_words(catalogue, "hello", limit=2, offset=2).more
    assert not search.by_words(catalogue, "hello", limit=2, offset=4).more


def test_the_newest_transcript_of_a_recording_counts(put_day: Any, by_words: Any, catalogue: Catalogue) -> None:
    put_day(MONDAY, transcribed("a.wav", "an old error"))
    put_day(TUESDAY, transcribed("a.wav", "the right words"))
    put_day(WEDNESDAY, rejected("a.wav"))
    assert by_words("error") == []
    assert by_words("right") == [("2026-11-24", "a.wav")]
    [hit] = search.by_name(catalogue, "A.W").hits
    assert (hit.run_id, hit.entry.state) == (f"scheduled__{WEDNESDAY}", "rejected")


def test_names_are_found_in_all_runs(put_day: Any, catalogue: Catalogue) -> None:
    put_day(MONDAY, transcribed("calls/a.wav", "one"), transcribed("calls/<img onerror=x>.wav", "two"))
    put_day(TUESDAY, rejected("calls/b.wav"))
    page = search.by_name(catalogue, "calls/", limit=2)
    assert [hit.entry.name for hit in page.hits] == ["calls/b.wav", "calls/<img onerror=x>.wav"]
    assert page.more
    assert [hit.entry.name for hit in search.by_name(catalogue, "calls/", limit=2, offset=2).hits] == ["calls/a.wav"]
    assert search.by_name(catalogue, "%").hits == []


def test_the_bucket_is_listed_by_time_and_not_by_request(
    put_day: Any, s3: Any, empty_bucket: str, tmp_path: Path
) -> None:
    put_day(MONDAY, transcribed("a.wav", "hello"))
    counted = Counted(s3)
    catalogue = Catalogue(counted, empty_bucket, tmp_path, refresh_seconds=3600)
    assert catalogue.runs()
    assert search.by_words(catalogue, "hello").hits
    before = len(counted.calls)
    for _ in range(3):
        assert catalogue.runs()
        assert search.by_words(catalogue, "hello").hits
        assert search.by_name(catalogue, "a").hits
    assert counted.calls[before:] == []
    put_day(TUESDAY, transcribed("b.wav", "hello"))
    assert len(catalogue.runs()) == 1
    catalogue.refresh()
    assert len(catalogue.runs()) == 2
    assert len(search.by_words(catalogue, "hello").hits) == 2
    assert counted.calls.count("get_object") == 4, "each version of an object is fetched once"


def test_an_old_listing_is_renewed_in_the_background(
    put_day: Any, s3: Any, empty_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_day(MONDAY, transcribed("a.wav", "hello"))
    catalogue = Catalogue(s3, empty_bucket, tmp_path, refresh_seconds=0)
    assert len(catalogue.runs()) == 1
    put_day(TUESDAY, transcribed("b.wav", "hello"))
    while len(catalogue.runs()) == 1:
        pass
    monkeypatch.setattr(catalogue, "_list", lambda: 1 / 0)
    catalogue._renew()
    assert len(catalogue.runs()) == 2, "a listing that fails changes nothing"


def test_an_index_that_changed_or_went_takes_the_place_of_what_was_known(
    put_day: Any, s3: Any, empty_bucket: str, catalogue: Catalogue, by_words: Any, tmp_path: Path
) -> None:
    put_day(MONDAY, transcribed("a.wav", "hello"), run_id=f"m__{MONDAY}")
    put_day(TUESDAY, transcribed("a.wav", "bye"), transcribed("b.wav", "hello"), run_id=f"t__{TUESDAY}")
    assert by_words("hello") == [("2026-11-24", "b.wav")]
    put_day(TUESDAY, transcribed("a.wav", "bye"), run_id=f"t__{TUESDAY}")
    catalogue.refresh()
    assert by_words("hello") == []
    s3.delete_object(Bucket=empty_bucket, Key=layout.search_index_key(f"m__{MONDAY}", PLAN))
    catalogue.refresh()
    assert by_words("bye") == [("2026-11-24", "a.wav")]
    assert len(list((tmp_path / "files").iterdir())) == 1, "nothing of an earlier version stays on this machine"


def test_files_on_this_machine_have_a_cap_and_are_fetched_again(
    put_day: Any, s3: Any, empty_bucket: str, tmp_path: Path
) -> None:
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        put_day(day, transcribed(f"{day[:10]}.wav", "hello"))
    catalogue = Catalogue(s3, empty_bucket, tmp_path, refresh_seconds=3600, cap_bytes=1)
    for _ in range(2):
        assert len(search.by_words(catalogue, "hello").hits) == 3
    catalogue.refresh()
    put_day(MONDAY, transcribed("new.wav", "hello"), run_id="another")
    catalogue.refresh()
    assert len(search.by_words(catalogue, "hello").hits) == 4
    assert list((tmp_path / "files").glob("part-*")) == []


def test_two_processes_share_a_folder(put_day: Any, s3: Any, empty_bucket: str, tmp_path: Path) -> None:
    put_day(MONDAY, transcribed("a.wav", "hello"))
    one, other = (Catalogue(s3, empty_bucket, tmp_path, refresh_seconds=3600) for _ in range(2))
    assert search.by_words(one, "hello").hits == search.by_words(other, "hello").hits
    one.saved(one.corrections.save(corrected("a.wav", "goodbye"), None))
    assert [hit.corrected for hit in search.by_words(other, "goodbye").hits] == [True]


def test_a_correction_wins_in_the_search(
    put_day: Any, s3: Any, empty_bucket: str, catalogue: Catalogue, by_words: Any
) -> None:
    put_day(MONDAY, transcribed("a.wav", "a wrong word", etag="old"), transcribed("b.wav", "a wrong word"))
    assert len(by_words("wrong")) == 2
    Corrections(s3, empty_bucket).save(corrected("a.wav", "a right word", etag="old"), None)
    catalogue.refresh()
    assert by_words("wrong") == [("2026-11-23", "b.wav")]
    [hit] = search.by_words(catalogue, "right").hits
    assert (hit.entry.name, hit.corrected, hit.passages[0].found) == ("a.wav", True, "right")
    # A later upload of the name has the machine's text again, until somebody corrects that.
    put_day(TUESDAY, transcribed("a.wav", "other words", etag="new"))
    catalogue.refresh()
    assert by_words("right") == []
    assert by_words("other") == [("2026-11-24", "a.wav")]
    s3.delete_object(Bucket=empty_bucket, Key=layout.correction_key("a.wav"))
    catalogue.refresh()
    assert by_words("other") == [("2026-11-24", "a.wav")]


def test_of_two_editors_the_second_is_told_and_earlier_corrections_stay(s3: Any, empty_bucket: str) -> None:
    corrections = Corrections(s3, empty_bucket)
    assert corrections.load("a.wav") is None
    assert corrections.etag("a.wav") is None
    first = corrections.save(corrected("a.wav", "first"), None)
    with pytest.raises(Conflict, match=r"Somebody else has corrected 'a.wav' meanwhile"):
        corrections.save(corrected("a.wav", "second"), None)
    third = corrections.save(corrected("a.wav", "third"), first.etag)
    with pytest.raises(Conflict):
        corrections.save(corrected("a.wav", "fourth"), first.etag)
    assert corrections.load("a.wav") == third
    assert corrections.etag("a.wav") == third.etag
    assert corrections.load("a.wav", "another version") is None
    versions = s3.list_object_versions(Bucket=empty_bucket, Prefix=layout.correction_key("a.wav"))["Versions"]
    assert len(versions) == 2
    s3.delete_object(Bucket=empty_bucket, Key=layout.correction_key("a.wav"))
    with pytest.raises(Conflict):
        corrections.save(corrected("a.wav", "fifth"), third.etag)


def test_a_run_that_has_just_ended_is_found_before_the_listing_is_renewed(put_day: Any, catalogue: Catalogue) -> None:
    assert catalogue.runs() == []
    put_day(MONDAY, transcribed("a.wav", "one"), run_id="r")
    assert catalogue.run("r") is None
    with catalogue.index("r", PLAN) as index:
        assert index is not None
        assert index.text("a.wav") == "one"
    assert catalogue.run("r") is not None
