"""Benchmark of the task `plan`: `make bench-plan`.

Measures memory and CPU time of `plan` for up to a million keys, and simulates the cost of its plans. Writes both to
docs/benchmarks.md. The listing is generated S3 XML that botocore parses without a network, so `plan` is compared with
the fastest possible listing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import botocore.session
from botocore.parsers import create_parser

from benchmark import simulation
from benchmark.document import machine, table, write
from transcription import planning
from transcription.bucket import Bucket
from transcription.grouping import group_by_model
from transcription.model_rules import Image, ModelFacts, ModelRule
from transcription.plan_summary import PlanSummary
from transcription.selection import Selection
from transcription.tasks.plan import manifests
from transcription_contract.model_files import IMAGE_MODEL
from transcription_contract.run_options import RunOptions

COUNTS = (0, 1, 2, 1_000, 1_001, 10_000, 100_000, 1_000_000)
MAX_INSTANCES = 10_000
MINUTES_PER_CHILD = 60
PAGE = 1_000


class Listing:
    """S3's pages for `count` recordings with realistic durations."""

    def __init__(self, count: int) -> None:
        self._count = count

    def get_paginator(self, _call: str) -> Listing:
        return self

    def paginate(self, **_arguments: str) -> Iterator[dict[str, Any]]:
        operation = botocore.session.get_session().get_service_model("s3").operation_model("ListObjectsV2")
        parser = create_parser("rest-xml")
        chance = random.Random(7)  # noqa: S311
        for start in range(0, self._count, PAGE):
            entries = "".join(
                f"<Contents><Key>input/2026/11/{number % 977:03}/call-{number:08}.wav</Key>"
                f"<LastModified>2026-11-20T12:34:{number % 60:02}.000Z</LastModified>"
                f"<ETag>&quot;{chance.getrandbits(128):032x}&quot;</ETag>"
                # Median 55 s, at most an hour.
                f"<Size>{int(32_000 * min(chance.lognormvariate(4, 1.5), 3600))}</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
                for number in range(start, min(start + PAGE, self._count))
            )
            body = f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{entries}</ListBucketResult>'
            yield parser.parse({"status_code": 200, "headers": {}, "body": body.encode()}, operation.output_shape)


def bucket(count: int) -> Bucket:
    found = Bucket.__new__(Bucket)
    found.name = "bench"
    found._s3 = Listing(count)
    return found


def plan(count: int) -> dict[str, Any]:
    """Do the work of `plan` between the listing and the upload of the manifests. Return figures about the plan."""
    selection = Selection()
    chosen = selection.choose(*bucket(count).selected(selection))
    rule = ModelRule(IMAGE_MODEL, Image(built_in={}), {}, lambda _choice: ModelFacts(None, 0))
    grouped = group_by_model(planning.recordings(chosen, frozenset()), rule)
    if not grouped.tables:
        return {}
    children = planning.child_count(
        grouped.audio_seconds, grouped.files, max_instances=MAX_INSTANCES, audio_minutes_per_child=MINUTES_PER_CHILD
    )
    shares = planning.shares(grouped.tables, children, {IMAGE_MODEL: 0.3}, max_instances=MAX_INSTANCES)
    manifest_bytes = sum(map(len, manifests(shares, RunOptions())))
    summary = PlanSummary(
        plan_id="0123456789abcdef",
        made_from="fedcba9876543210",
        prefix="",
        planned=datetime.now(UTC),
        manifest_prefix="child_job_input/scheduled__2026-11-23T01-00-00-00-00-0123abcd/",
        files=grouped.files,
        children=len(shares),
        left_alone=grouped.left_alone,
        unusable_models=(),
        largest_files=tuple(grouped.largest_files()),
        estimated_audio_hours=round(grouped.audio_seconds / 3600, 3),
        estimated_minutes=1234.5,
        estimated_usd=1234.5678,
        dry_run=False,
    )
    work = [sum(share.table.audio_seconds[row] + 2.0 for row in share.rows) for share in shares]
    return {
        "children": children,
        "balance": max(work) / (sum(work) / len(work)),
        "xcom": len(json.dumps(summary.to_json())),
        "manifest_bytes": manifest_bytes,
    }


def bare_listing(count: int) -> float:
    """CPU seconds to read every page without other work."""
    started = time.process_time()
    for page in Listing(count).paginate():
        for item in page.get("Contents", ()):
            item["Key"]
    return time.process_time() - started


def row(count: int) -> dict[str, Any]:
    """The figures for one number of keys. Run it in a new process, because it measures peak memory."""
    plan(1)
    bare_listing(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    found = plan(count)
    spent = time.process_time() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return {**found, "plan": spent, "bytes": grown, "listing": bare_listing(count)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 100,000 keys")
    quick = parser.parse_args().quick
    rows = []
    for count in COUNTS[: -1 if quick else None]:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply(row, (count,))
        print(count, found, flush=True)
        rows.append((
            f"{count:,}", f"{found.get('children', 0):,}", f"{found['bytes'] / count:,.0f}" if count >= 10_000 else "",
            f"{found['listing']:.3f}", f"{found['plan']:.3f}",
            f"{found['plan'] / found['listing']:.1f}" if count >= 1000 else "",
            found.get("xcom", ""), f"{found['balance']:.3f}" if found.get("children", 0) > 1 else "",
        ))  # fmt: skip
    head = ["keys", "children", "bytes a key, at most", "bare listing, CPU-s", "plan, CPU-s", "of the listing",
            "XCom, bytes", "slowest child / mean"]  # fmt: skip
    stamp = f"{datetime.now(UTC).date()}, {machine()}.\n\n"
    write("plan", stamp + table(head, rows), rows)
    results = list(simulation.results(quick))
    write("simulation", simulation.described(results), [asdict(result) for result in results])


if __name__ == "__main__":
    main()
