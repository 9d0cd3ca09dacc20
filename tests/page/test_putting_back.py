"""A rejected recording goes back into `input/` and nothing is lost."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.airflow_ui import Running
from transcription_contract import results
from transcription_contract.results import ReportEntry
from transcripts_page.putting_back import PutBack, put_back

ENTRY = ReportEntry("input/back/a.wav", "rejected", 0, source_etag="the etag", code="no-speech")
METADATA = {results.SOURCE_ETAG: ENTRY.source_etag, results.UPLOADED: datetime.now(UTC).isoformat(), "mine": "kept"}


def reject(airflow: Running, name: str, body: bytes = b"sound", metadata: dict[str, str] | None = None) -> ReportEntry:
    """Put an object where the worker puts a rejected recording."""
    airflow.s3.put_object(
        Bucket=airflow.bucket,
        Key=f"failed/{name}",
        Body=body,
        Metadata=METADATA if metadata is None else metadata,
        Tagging="class=secret",
    )
    return ReportEntry(f"input/{name}", "rejected", 0, source_etag=ENTRY.source_etag, code="no-speech")


def test_it_is_copied_with_its_metadata_and_tags_and_stays_in_failed(airflow: Running) -> None:
    entry = reject(airflow, "back/copied.wav")
    assert put_back(airflow.s3, airflow.bucket, entry) is PutBack.DONE
    found = airflow.s3.get_object(Bucket=airflow.bucket, Key=entry.source_key)
    assert found["Body"].read() == b"sound"
    assert found["Metadata"]["mine"] == "kept"
    tags = airflow.s3.get_object_tagging(Bucket=airflow.bucket, Key=entry.source_key)["TagSet"]
    assert tags == [{"Key": "class", "Value": "secret"}]
    assert airflow.keys("failed/back/copied.wav") == ["failed/back/copied.wav"]
    airflow.s3.delete_object(Bucket=airflow.bucket, Key=entry.source_key)


def test_it_never_replaces_an_upload_that_waits(airflow: Running) -> None:
    entry = reject(airflow, "back/waits.wav")
    airflow.s3.put_object(Bucket=airflow.bucket, Key=entry.source_key, Body=b"a newer upload")
    assert put_back(airflow.s3, airflow.bucket, entry) is PutBack.WAITS
    found = airflow.s3.get_object(Bucket=airflow.bucket, Key=entry.source_key)
    assert found["Body"].read() == b"a newer upload"
    airflow.s3.delete_object(Bucket=airflow.bucket, Key=entry.source_key)


class _UploadedMeanwhile:
    """S3 whose user uploads the same name between the look and the copy."""

    def __init__(self, airflow: Running, key: str) -> None:
        self._airflow = airflow
        self._key = key

    def head_object(self, **wanted: str) -> object:
        return self._airflow.s3.head_object(**wanted)

    def copy_object(self, **wanted: object) -> object:
        self._airflow.s3.put_object(Bucket=self._airflow.bucket, Key=self._key, Body=b"a newer upload")
        return self._airflow.s3.copy_object(**wanted)


def test_an_upload_at_the_same_moment_wins(airflow: Running) -> None:
    entry = reject(airflow, "back/moment.wav")
    s3 = _UploadedMeanwhile(airflow, entry.source_key)
    assert put_back(s3, airflow.bucket, entry) is PutBack.WAITS
    found = airflow.s3.get_object(Bucket=airflow.bucket, Key=entry.source_key)
    assert found["Body"].read() == b"a newer upload"
    airflow.s3.delete_object(Bucket=airflow.bucket, Key=entry.source_key)


def test_another_rejected_upload_of_the_name_is_not_taken_for_it(airflow: Running) -> None:
    entry = reject(airflow, "back/other.wav", metadata={**METADATA, results.SOURCE_ETAG: "of a later upload"})
    assert put_back(airflow.s3, airflow.bucket, entry) is PutBack.GONE
    assert airflow.keys("input/back/") == []


def test_what_was_deleted_is_gone(airflow: Running) -> None:
    entry = ReportEntry("input/back/deleted.wav", "rejected", 0, source_etag="the etag")
    assert put_back(airflow.s3, airflow.bucket, entry) is PutBack.GONE
