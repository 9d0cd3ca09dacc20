"""Changes to the code that would lose, overwrite, block or misreport a recording, and the tests that notice them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """One change of a file. The file contains `before` exactly once."""

    file: str
    before: str
    after: str
    tests: tuple[str, ...]
    environment: str = "airflow"


def _airflow(module: str, tests: str, *changes: tuple[str, str]) -> Iterator[Change]:
    names = tuple(f"tests/pipeline/test_{name}.py" for name in tests.split())
    for before, after in changes:
        yield Change(f"plugins/transcription/{module}.py", before, after, names)


def _worker(module: str, tests: str, *changes: tuple[str, str]) -> Iterator[Change]:
    names = tuple(f"tests/worker/test_{name}.py" for name in tests.split())
    for before, after in changes:
        yield Change(f"worker_image/transcriber/{module}.py", before, after, names, "worker")


CHANGES = (
    *_airflow(
        "planning",
        "planning",
        ("stem not in stems and stem not in claimed_stems", "stem not in claimed_stems"),
        ("stem not in stems and stem not in claimed_stems", "stem not in stems"),
        ("keeps_extension=not free", "keeps_extension=False"),
        ("if over > 0:", "if over > 3:"),
        ("max(1, min(wanted, max_instances, files))", "max(1, min(wanted, max_instances))"),
        ("max(1, min(wanted, max_instances, files))", "max(1, min(wanted, files))"),
        ("key=audio_seconds.__getitem__, reverse=True", "key=audio_seconds.__getitem__"),
        ("least + audio_seconds[position] + _OVERHEAD_SECONDS", "least + 1"),
        ("if len(tables) > max_instances:", "if len(tables) > max_instances + 1:"),
        ("children * 60)", "children * 6)"),
        ("counts[most[0][2]] == len(tables[most[0][2]])", "False"),
        ("size / _BYTES_PER_SECOND.get(layout.extension(key), _WAV_BYTES_PER_SECOND)", "size / _WAV_BYTES_PER_SECOND"),
    ),
    *_airflow(
        "selection",
        "selection bucket",
        ("moment < self.end", "moment <= self.end"),
        ("moment >= self.start", "moment > self.start"),
        ("item.uploaded >= start)", "item.uploaded > start)"),
        ("return self.again and", "return"),
        ("and layout.is_audio(item.key)", ""),
        ("claims.runs.get(item.name) if claims.runs else None", "None"),
        ("claims.runs.get(item.name) if claims.runs else None", "claims.runs.get(item.key)"),
        ("if item.uploaded not in self.interval:", "if False:"),
        ('if item.key.endswith("/"):', "if False:"),
        ("if not layout.is_audio(item.key):", "if False:"),
        ("heapq.merge(waiting, processed, key", "heapq.merge(processed, waiting, key"),
    ),
    *_airflow(
        "claims",
        "selection bucket",
        ("timedelta(minutes=10)", "timedelta(minutes=1)"),
        ("timedelta(minutes=10)", "timedelta(minutes=100)"),
        ("Claims(runs, stems, ends)", "Claims(runs, frozenset(), ends)"),
    ),
    *_airflow(
        "accounting",
        "accounting",
        ("Owner.of(transcript.metadata).etag != recording.source_etag", "False"),
        ("if transcript.metadata.get(results.RUN) == manifest_prefix:", "if True:"),
        ("elif _is_moved(recording, found, found.processed):", "else:"),
        (" and not _waits(recording, found)", ""),
        ("copy.etag == recording.source_etag", "True"),
        ("source.uploaded <= recording.uploaded", "True"),
        ("if error.source_etag != recording.source_etag:", "if False:"),
        ("return error.run == manifest_prefix", "return True"),
        ("recording.in_place or error.code in _LEFT_IN_PLACE", "recording.in_place"),
        ("recording.in_place or error.code in _LEFT_IN_PLACE", "error.code in _LEFT_IN_PLACE"),
        ("owner.uploaded > recording.uploaded", "owner.uploaded >= recording.uploaded"),
        ("found.source.etag != recording.source_etag", "False"),
        ('if is_of_this_run else ""', ""),
        ("self.states[result.state] += 1", 'self.states["transcribed"] += 1'),
    ),
    *_airflow(
        "bucket",
        "bucket",
        ("elif item.uploaded >= fresh_since:", "elif False:"),
        ("if run in live_runs:", "if False:"),
        (" or item.key.startswith(own_prefix)", ""),
        ("item.uploaded + claims.DURATION", "item.uploaded"),
        ('head["Metadata"].get(results.RECORDING) == own', "True"),
        ('if head and head["ContentLength"] and', "if head and"),
        ("uploaded=uploaded or recording.uploaded", "uploaded=recording.uploaded"),
        ("        self.delete(prefix)\n\n        def put", "        def put"),
        ("for key in recording.transcript_keys:", "for key in recording.transcript_keys[:1]:"),
    ),
    *_airflow(
        "plan_lock",
        "plan_lock",
        ("return self._put(IfMatch=seen.etag)", "return self._put()"),
        ("_ABANDONED_SECONDS = 300.0", "_ABANDONED_SECONDS = 30.0"),
        ("self._s3.delete_object(**self._object, IfMatch=self._etag)", "self._s3.delete_object(**self._object)"),
        ("if not self._put(IfMatch=self._etag):", "if not self._put():"),
        ('self._put(IfNoneMatch="*")', "self._put()"),
        ("seen.run_id == self._run_id or ", ""),
        ("seen is None or seen.token != self._token", "True"),
        ("self._renewer.start()", "pass"),
    ),
    *_airflow(
        "tasks/submit",
        "submit",
        ("claims.DURATION / 2", "claims.DURATION * 2"),
        ('self.job_name and job["status"] != "FAILED"', "self.job_name"),
        ('if known and known["status"] != "FAILED":', "if known:"),
        ('stored.get("name") == self.job_name', "True"),
        ('adopted is None and job["jobName"] == self.job_name and', "adopted is None and"),
        ('elif job["status"] in batch_jobs.ACTIVE:', "elif False:"),
        ("if manifests != plan.children:", "if False:"),
        ("            if shared:", "            if False:"),
        ("bucket.renew_manifests(prefix)", "pass"),
        ("if plan.children > 1:", "if plan.children > 0:"),
        ("if plan.dry_run:", "if False:"),
    ),
    Change(
        "plugins/transcription/tasks/submit.py",
        '{"retries": {"total_max_attempts": 1}}',
        '{"retries": {"total_max_attempts": 5}}',
        ("tests/faults/test_killed_tasks.py",),
    ),
    *_airflow(
        "tasks/plan",
        "plan unfinished_plan",
        ("earlier.made_from == made_from and", ""),
        ("if earlier and earlier.made_from == made_from and", "if False and"),
        (" and unfinished_plan.is_whole(bucket, earlier):", ":"),
        ("secrets.token_hex(batch_jobs.PLAN_ID_LENGTH // 2)", '"0" * batch_jobs.PLAN_ID_LENGTH'),
    ),
    *_airflow(
        "grouping",
        "plan",
        ("item.uploaded < grouped.oldest_waiting", "item.uploaded > grouped.oldest_waiting"),
        ("if not item.in_place and (", "if ("),
        ("grouped.left_alone += 1", "pass"),
        ("grouped.unusable_models.add(str(choice))", "pass"),
    ),
    *_airflow(
        "model_check",
        "unfinished_plan",
        ("[(item.key, item.etag) for item in self.objects]", "[item.key for item in self.objects]"),
        ("            self.image.revision,\n", ""),
        ("            str(selection),\n", ""),
    ),
    *_airflow(
        "budget",
        "budget",
        ("if usd <= size.max_usd:", "if True:"),
        ("if not cut:", "if False:"),
        ("if again:", "if False:"),
        ("if usd(more, files + 1) <= max_usd:", "if usd(seconds, files + 1) <= max_usd:"),
        ("grouped.left_alone += left", "pass"),
        ("key=table.uploaded", "key=table.sizes.__getitem__"),
        ("return max(wanted, self._models)", "return wanted"),
    ),
    *_airflow(
        "tasks/verify",
        "verify",
        ('    if found["final"]:', "    if True:"),
        ("        bucket.delete(summary.manifest_prefix)", "        pass"),
        ('if files["missing"]:', "if False:"),
        ("if not again:", "if True:"),
    ),
    *_airflow(
        "plan_account",
        "verify unfinished_plan",
        ('if found is None or not found["final"]:', "if True:"),
        ('if found is None or not found["final"]:', "if found is None:"),
        ("if accounted != plan.files:", "if False:"),
        ("job_id or batch_jobs.job_of_plan(batch, settings.job_queue, run_id, plan.plan_id)", "job_id"),
        ('job["status"] not in batch_jobs.ACTIVE', "True"),
        ('while job and job["status"] in batch_jobs.ACTIVE:', "while False:"),
        ('found["finished"], reverse=True', 'found["finished"]'),
    ),
    *_airflow(
        "unfinished_plan",
        "unfinished_plan",
        ("or not any(bucket.listing(plan.manifest_prefix))", ""),
        ("return plan if batch_jobs.job_of_plan(batch, job_queue, run_id, plan.plan_id) else None", "return plan"),
        ("return (len(children), files) == (plan.children, plan.files)", "return True"),
        ("        return False\n    return (len", "        return True\n    return (len"),
    ),
    *_airflow(
        "params",
        "plan params",
        ('dag_run.run_type == "backfill" and ', ""),
        ('(run_options.prefix or "")', '(run_options.prefix or "").removeprefix("input/")'),
    ),
    *_airflow(
        "upload_watch",
        "upload_watch",
        ("await self._delete(client, newest)\n                        newest = received", "newest = received"),
        (
            "await self._delete(client, newest)\n                        newest = received",
            "await self._delete(client, received)",
        ),
        ("await self._delete(client, told)", "pass"),
        ("return min(rested, latest) - now", "return rested - now"),
        ("        self._last = now", "        self._last = self._first"),
        ("int(self.quiet_seconds) + _VISIBILITY_MARGIN_SECONDS", "0"),
    ),
    *(
        Change("infra/erase.py", before, after, ("tests/pipeline/test_erase.py",))
        for before, after in (
            ("return name == self.name or (", "return name.startswith(self.name) or ("),
            ("else recording == results.recording_id(self.name)", "else bool(recording)"),
            ("if planned and version.is_latest:", "if False:"),
            ("found.outputs += ours if others else versions", "found.outputs += ours"),
            ("return key in keys or key in {", "return True or key in {"),
            ("for key in found.covering:", "for key in ():"),
            ("self._delete(found.reports)", "pass"),
            ("self._delete(found.manifests)", "pass"),
            ("sha256(self._salt + name.encode()).hexdigest()[:16]", "'name'"),
            ("receipt.complete = not eraser.find().versions", "receipt.complete = True"),
        )
    ),
    *_worker(
        "transcript_place",
        "whose_transcript",
        ("Owner.of(found.metadata).recording == recording_id(recording.name)", "True"),
        ("if outputs[name] and not is_own(outputs[name], recording)", "if False"),
        ("yield from (key for key in texts if is_own(texts[key], recording))", "yield from ()"),
        ("texts[stem] is None and not recording.keeps_extension", "texts[stem] is None"),
        ("wanted = [key, *(layout.format_key(key, form) for form in formats)]", "wanted = [key]"),
    ),
    *_worker(
        "delivery",
        "whose_transcript failures",
        ("        source = self._source(recording, place.texts.values())\n        text =", "        text ="),
        ("self._delete_stale_extras(recording, place, written)", "pass"),
        ("self._delete_elsewhere(recording, place.key, place.texts)", "pass"),
        ("if recording.in_place and any(", "if False and any("),
        (
            "        self._clear_failures(recording)\n        return Outcome.TRANSCRIBED\n\n    def",
            "        return Outcome.TRANSCRIBED\n\n    def",
        ),
        ("uploaded < recording.uploaded or (", "True or ("),
        ("if _is_newer(found, recording):\n                return False", "if False:\n                return False"),
        ("and rejection.code is not ErrorCode.UNREADABLE:", ":"),
        ("if not recording.in_place and _is_of_version(processed, recording):", "if False:"),
        ("if _is_of_version(self._bucket.find(recording.failed_key), recording):", "if False:"),
        (
            "if text.metadata.get(results.RUN) == self._provenance.run:\n            earlier",
            "if False:\n            earlier",
        ),
    ),
    *_worker(
        "storage",
        "storage failures",
        ("if entry[0] not in merged and", "if"),
        ('"ContentType", "StorageClass",', '"ContentType",'),
        ('EXPIRED_CODES = ("ExpiredToken", "RequestTimeTooSkewed",', "EXPIRED_CODES = ("),
        (
            "self._client.delete_object(Bucket=self.name, Key=key, IfMatch=_quoted(etag))",
            "self._client.delete_object(Bucket=self.name, Key=key)",
        ),
    ),
    *_worker(
        "account",
        "account failures",
        ("return ExitCode.TEMPORARY in self._exit_codes", "return self._exit_codes == {ExitCode.TEMPORARY}"),
        ("if len(failures) >= GIVE_UP_AFTER:", "if False:"),
        ("[*self._in_a_row, end] if end else []", "[*self._in_a_row, end] if end else self._in_a_row"),
        ("failure if isinstance(failure, WorkerError) else None", "failure  # type: ignore[arg-type]"),
    ),
    *_worker(
        "source",
        "failures",
        ("(facts.etag, facts.size) != (self._etag, self._size)", "False"),
        ("raise Rejected(ErrorCode.UNREADABLE, _advice(refusal), str(refusal)) from refusal", "raise"),
    ),
    *_worker(
        "pipeline",
        "faults",
        ("wait(deliveries, timeout=GRACE_SECONDS)", "wait(deliveries, timeout=0)"),
    ),
    Change(
        "worker_image/transcriber/delivery.py",
        "self._delete_written(written, kept=place.outputs)",
        "pass",
        ("tests/worker/test_whose_transcript.py",),
        "worker",
    ),
)
