"""When the DAG runs: at the times of a cron expression, and after uploads if the deployment says so."""

from __future__ import annotations

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, CronDataIntervalTimetable

from transcription import configuration
from transcription.upload_watch import UploadsTrigger

UPLOADS = "uploads"


def schedule() -> CronDataIntervalTimetable | AssetOrTimeSchedule:
    """The DAG's schedule. Backfills follow the cron expression in both cases.

    Raises:
        SettingError: a setting is no number.
    """
    by_time = CronDataIntervalTimetable(configuration.option("schedule"), timezone="UTC")
    queue_url = configuration.option("upload_queue_url")
    if not queue_url:
        return by_time
    trigger = UploadsTrigger(queue_url=queue_url, quiet_seconds=configuration.option("quiet_minutes") * 60)
    uploads = Asset(UPLOADS, watchers=[AssetWatcher(name=UPLOADS, trigger=trigger)])
    return AssetOrTimeSchedule(timetable=by_time, assets=[uploads])
