from __future__ import annotations

from datetime import UTC, datetime, timedelta

from transcription.claims import NO_CLAIMS, Claims, claims_of
from transcription.planning import StoredObject, Unplanned
from transcription.selection import Interval, Selection

START, END = datetime(2026, 11, 20, 1, tzinfo=UTC), datetime(2026, 11, 21, 1, tzinfo=UTC)
DAY = Interval(start=START, end=END)
SECOND = timedelta(seconds=1)


def stored(key: str, uploaded: datetime = START) -> StoredObject:
    return StoredObject(key, "etag", 1, uploaded)


def chosen(
    selection: Selection, waiting: list[str], processed: list[str] | None = None, claims: Claims = NO_CLAIMS
) -> tuple[list[str], list[str]]:
    """The keys of the selected recordings, and of those that are not selected."""
    items = list(selection.choose(map(stored, waiting), map(stored, processed or []), claims))
    taken = [item.key for item in items if isinstance(item, StoredObject)]
    return taken, [item.key for item in items if isinstance(item, Unplanned)]


def test_a_run_selects_every_recording_under_input_and_names_the_other_files() -> None:
    keys = ["input/", "input/a.wav", "input/notes.txt", "input/sub/", "input/sub/b c.MP3"]
    assert chosen(Selection(), keys) == (["input/a.wav", "input/sub/b c.MP3"], ["input/notes.txt"])


def test_a_recording_that_another_run_has_in_its_plan_is_left_to_that_run() -> None:
    claims = claims_of([("a.wav", "nightly-1")], {})
    (left, taken) = Selection().choose([stored("input/a.wav"), stored("input/b.wav")], (), claims)
    assert left == Unplanned(
        "input/a.wav", "the run nightly-1 has it in its plan, and keeps it until its Batch job ends"
    )
    assert taken.key == "input/b.wav"


def test_a_recording_is_left_to_a_run_without_a_job_until_the_claim_of_that_run_ends() -> None:
    claims = claims_of([("a.wav", "nightly-1")], {"nightly-1": END})
    (left,) = Selection().choose([stored("input/a.wav")], (), claims)
    assert isinstance(left, Unplanned)
    assert left.reason == f"the run nightly-1 has planned it; without a job it keeps it until {END:%H:%M:%S} UTC"


def test_a_run_for_a_time_takes_what_was_uploaded_then_and_nothing_that_is_processed() -> None:
    waiting = [stored("input/a.wav", START - SECOND), stored("input/b.wav")]
    assert [item.key for item in Selection(interval=DAY).choose(waiting, [stored("processed/c.wav")])] == [
        "input/b.wav"
    ]
    only_from, only_to = Interval(start=START), Interval(end=START)
    assert [item.key for item in Selection(interval=only_from).choose(waiting)] == ["input/b.wav"]
    assert [item.key for item in Selection(interval=only_to).choose(waiting)] == ["input/a.wav"]


def test_a_run_that_repeats_takes_all_that_is_processed() -> None:
    assert chosen(Selection(again=True), ["input/b.wav"], ["processed/a.wav"])[0] == ["processed/a.wav", "input/b.wav"]
    assert Selection(again=True).may_take_processed(stored("processed/a.wav"))


def test_an_archived_recording_is_left_alone_with_a_reason() -> None:
    archived = stored("input/a.wav")._replace(archived=True)
    [left] = Selection().choose([archived])
    assert left == Unplanned("input/a.wav", "it is archived (GLACIER or DEEP_ARCHIVE); restore it, or upload it again")


def test_a_backfill_takes_what_was_uploaded_in_its_interval_and_still_waits() -> None:
    moments = {"after": END, "before": START - SECOND, "first": START, "last": END - SECOND}
    objects = [stored(f"input/{name}.wav", moment) for name, moment in moments.items()]
    taken = Selection(interval=DAY, again=True).choose(objects)
    assert [item.key for item in taken] == ["input/first.wav", "input/last.wav"]
    assert len(list(Selection().choose(objects))) == 4


def test_a_backfill_selects_waiting_and_processed_recordings_in_order_of_their_names() -> None:
    waiting, processed = ["input/b.wav", "input/ä.wav"], ["processed/a.wav", "processed/z.wav"]
    taken, _ = chosen(Selection(interval=DAY, again=True), waiting, processed)
    assert taken == ["processed/a.wav", "input/b.wav", "processed/z.wav", "input/ä.wav"]


def test_a_new_upload_goes_before_the_processed_recording_of_the_same_name() -> None:
    assert chosen(Selection(interval=DAY, again=True), ["input/a.wav"], ["processed/a.wav"]) == (
        ["input/a.wav"],
        ["processed/a.wav"],
    )


def test_a_processed_recording_is_left_alone_while_a_newer_upload_of_another_day_waits() -> None:
    waiting, processed = [stored("input/a.wav", END)], [stored("processed/a.wav")]
    (left,) = Selection(interval=DAY, again=True).choose(waiting, processed)
    assert left == Unplanned("processed/a.wav", "a newer upload of it waits as 'input/a.wav'")


def test_a_processed_recording_is_left_alone_while_another_run_has_its_newer_upload() -> None:
    claims = claims_of([("a.wav", "nightly-1")], {})
    assert chosen(Selection(interval=DAY, again=True), [], ["processed/a.wav"], claims) == ([], ["processed/a.wav"])


def test_what_was_moved_before_the_interval_needs_no_look() -> None:
    selection = Selection(interval=DAY, again=True)
    assert not selection.may_take_processed(stored("processed/a.wav", START - SECOND))
    assert selection.may_take_processed(stored("processed/a.wav", END + SECOND))
    assert not selection.may_take_processed(stored("processed/a.txt", END))
    assert not Selection().may_take_processed(stored("processed/a.wav"))
