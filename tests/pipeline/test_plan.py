"""The steps of `plan` before it writes: models, unplanned files, the age of the oldest waiting recording."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.task_context import task_context
from transcription import notifications
from transcription.errors import ModelUnusable
from transcription.grouping import group_by_model
from transcription.model_rules import Image, ModelFacts, ModelRule
from transcription.params import selection_of
from transcription.planning import Unplanned
from transcription.selection import Interval, Selection
from transcription.tasks.plan import plan
from transcription.tasks.sense_input import sense_input
from transcription_contract.manifest import Recording
from transcription_contract.model_files import IMAGE_MODEL, ModelChoice

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
FOLDERS: dict[str, Any] = {
    "fr": ModelChoice("s3://b/models/fr/m.pbmm", None),
    "it": ModelUnusable("The folder it has no model."),
}
RULE = ModelRule(IMAGE_MODEL, Image(built_in={}), FOLDERS, lambda _choice: ModelFacts(None, 0))


def recording(name: str, folder: str = "input/", uploaded: datetime = NOON) -> Recording:
    return Recording(folder + name, "etag", 32_000, uploaded, keeps_extension=False)


def test_the_recordings_are_grouped_by_model_and_the_others_are_counted(caplog: Any) -> None:
    items: list[Recording | Unplanned] = [
        recording("fr/a.wav"),
        recording("it/b.wav"),
        Unplanned("input/x.txt", "why"),
        recording("c.wav"),
    ]
    grouped = group_by_model(items, RULE)
    assert {choice.model: [item.name for item in table] for choice, table in grouped.tables.items()} == {
        "s3://b/models/fr/m.pbmm": ["fr/a.wav"],
        None: ["c.wav"],
    }
    assert (grouped.files, grouped.audio_seconds, grouped.left_alone) == (2, 2.0, 2)
    assert grouped.unusable_models == {"The folder it has no model."}
    assert "Left alone: 'input/it/b.wav': The folder it has no model." in caplog.text
    assert "Left alone: 'input/x.txt': why." in caplog.text


def test_the_age_is_that_of_the_oldest_waiting_recording_and_not_of_a_processed_one() -> None:
    hour = timedelta(hours=1)
    items = [
        recording("a.wav", uploaded=NOON),
        recording("b.wav", uploaded=NOON - hour),
        recording("c.wav", uploaded=NOON + hour),
        recording("d.wav", "processed/", NOON - 9 * hour),
    ]
    assert group_by_model(items, RULE).oldest_waiting == NOON - hour
    assert group_by_model([items[-1]], RULE).oldest_waiting is None


def test_the_age_of_the_oldest_waiting_recording_is_published(
    put: Any, configured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: dict[str, float] = {}
    monkeypatch.setattr(notifications, "put_metrics", lambda _settings, values: published.update(values))
    put("input/new.wav")
    put("input/old.wav", modified=datetime.now(UTC) - timedelta(hours=5))
    plan(**task_context("manual__ages", dry_run=True))
    assert published["OldestWaitingHours"] == pytest.approx(5, abs=0.1)


def test_each_run_publishes_that_it_has_started(configured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    published: dict[str, float] = {}
    monkeypatch.setattr(notifications, "put_metrics", lambda _settings, values: published.update(values))
    sense_input(**task_context("manual__starts"))
    assert published == {"RunsStarted": 1}


def test_archived_recordings_wait_until_they_are_restored(s3: Any, empty_bucket: str) -> None:
    for name, storage in (("cold", "DEEP_ARCHIVE"), ("cool", "GLACIER"), ("warm", "STANDARD_IA")):
        s3.put_object(Bucket=empty_bucket, Key=f"input/{name}.wav", Body=b"x", StorageClass=storage)
    run = task_context("manual__cold", dry_run=True)
    planned = plan(**run)
    assert (planned["files"], planned["left_alone"]) == (1, 2)
    s3.delete_object(Bucket=empty_bucket, Key="input/warm.wav")
    assert not sense_input(**run)
    s3.restore_object(Bucket=empty_bucket, Key="input/cool.wav", RestoreRequest={"Days": 1})
    assert sense_input(**run)
    assert plan(**run)["files"] == 1


def test_a_prefix_limits_the_run_to_any_folder_of_input(put: Any, configured: Any) -> None:
    for key in ("input/a.wav", "input/calls/b.wav", "input/calls2/c.wav", "input/input/d.wav"):
        put(key)

    def files(prefix: str) -> int:
        return plan(**task_context("manual__prefix", dry_run=True, prefix=prefix))["files"]

    assert [files(prefix) for prefix in ("calls/", "calls", "input/", "/calls/")] == [1, 2, 1, 1]
    assert not sense_input(**task_context("manual__prefix", prefix="input/calls/"))


def test_a_backfill_takes_its_interval_and_no_other_run_has_one() -> None:
    selection = selection_of(task_context("b", backfill=(NOON, NOON + timedelta(days=1))))
    assert selection == Selection(interval=Interval(start=NOON, end=NOON + timedelta(days=1)), again=True)
    scheduled = task_context("scheduled__1")
    scheduled["dag_run"].run_type = "scheduled"
    scheduled["dag_run"].data_interval_start = scheduled["dag_run"].data_interval_end = NOON
    assert selection_of(scheduled) == Selection()


def test_params_do_what_a_backfill_does() -> None:
    backfill = selection_of(task_context("b", backfill=(NOON, NOON + timedelta(days=1))))
    params: dict[str, Any] = {
        "uploaded_from": "2026-11-20T12:00Z",
        "uploaded_to": "2026-11-21T13:00:00+01:00",
        "again": True,
    }
    assert selection_of(task_context("m", **params)) == backfill


def test_params_make_a_backfill_take_less_and_never_more() -> None:
    day = (NOON, NOON + timedelta(days=1))
    wider = selection_of(task_context("b", backfill=day, uploaded_from="2026-11-01", uploaded_to="2026-12-01"))
    assert wider == selection_of(task_context("b", backfill=day))
    less = selection_of(task_context("b", backfill=day, uploaded_from="2026-11-20T18:00"))
    assert less.interval == Interval(start=NOON + timedelta(hours=6), end=day[1])


def test_each_plan_of_a_run_has_a_different_id(put: Any, configured: Any) -> None:
    put("input/a.wav")
    first, second = (plan(**task_context("manual__twice", dry_run=True))["plan_id"] for _ in range(2))
    assert first != second
