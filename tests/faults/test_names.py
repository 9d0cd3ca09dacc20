"""The whole pipeline processes unusual names. No name runs as code, and each recording gets a separate transcript."""

from __future__ import annotations

from typing import Any

from tests.faults.runs import Run, wait_for_all
from tests.worker.harness import SHORT, TEXTS, recording

UNUSUAL = [
    "two words.wav",
    'it\'s "quoted".wav',
    "$(touch pwned);`touch pwned`.wav",
    "a;b&c|d>e.wav",
    "line\nfeed.wav",
    '","level":"error","event":"forged.wav',
    "100%2F.wav",
    "a+b=c?d#e.wav",
    "😀 e\u0301 \u202e.wav",
    "../../up.wav",
    "sub//folder/./x.wav",
    "back\\slash.wav",
    "-rf.wav",
    "UPPER.WAV",
    "v1.talk.v2.wav",
    "same.wav",
    "same.mp3",  # the content decides the format
    "same.flac",
    "deep/er/and/deeper/same.wav",
    "x" * 1002 + ".wav",  # the key failed/….error.json has 1,024 bytes
]
IGNORED = ["folder/", "no extension", "notes.txt", "y" * 1014 + ".wav"]


def test_every_name_gets_a_separate_transcript_or_is_ignored(aws: Any, deployed: Any, ledger: Any) -> None:
    s3, bucket = ledger.s3, ledger.bucket
    for name in UNUSUAL:
        s3.put_object(Bucket=bucket, Key=f"input/{name}", Body=recording())
    for name in IGNORED:
        s3.put_object(Bucket=bucket, Key=f"input/{name}", Body=b"" if name.endswith("/") else recording())
    before = outputs(s3, bucket)
    run = Run(aws, "unusual-names", max_instances=1)
    assert run.start() == len(UNUSUAL)
    wait_for_all([run])
    assert run.verify() == {"transcribed": len(UNUSUAL), "rejected": 0, "replaced": 0, "missing": 0}
    waiting = [name for name in ledger.waiting("") if name in {*UNUSUAL, *IGNORED}]  # other tests share the bucket
    assert sorted(waiting) == sorted(IGNORED)
    written = [key for key in outputs(s3, bucket) if key not in before]
    new = [key for key in written if not key.endswith(".json")]
    assert len(new) == len(UNUSUAL)
    assert sorted(written) == sorted([*new, *(f"{key}.json" for key in new)])
    same = [key for key in new if key.startswith("output/same")]
    assert same == ["output/same", "output/same.mp3", "output/same.wav"]
    for name in UNUSUAL:
        copy = s3.get_object(Bucket=bucket, Key=f"processed/{name}")
        assert copy["Body"].read() == recording()
    for key in new:
        text = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode().strip()
        assert text == TEXTS[SHORT]


def outputs(s3: Any, bucket: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="output/")
    return [item["Key"] for page in pages for item in page.get("Contents", ())]
