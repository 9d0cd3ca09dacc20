"""Names of every kind through the whole pipeline: data, never code, and each with a transcript of its own."""

from __future__ import annotations

from typing import Any

from tests.faults.runs import Run, wait_for_all
from tests.worker.harness import SHORT, TEXTS, recording

ODD = [
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
    "same.mp3",  # its content decides what it is
    "same.flac",
    "deep/er/and/deeper/same.wav",
    "x" * 1002 + ".wav",  # 1,024 bytes as failed/….error.json
]
LEFT_ALONE = ["folder/", "no extension", "notes.txt", "y" * 1014 + ".wav"]


def test_every_name_gets_a_transcript_of_its_own_or_is_left_alone(aws: Any, deployed: Any, ledger: Any) -> None:
    s3, bucket = ledger.s3, ledger.bucket
    for name in ODD:
        s3.put_object(Bucket=bucket, Key=f"input/{name}", Body=recording())
    for name in LEFT_ALONE:
        s3.put_object(Bucket=bucket, Key=f"input/{name}", Body=b"" if name.endswith("/") else recording())
    before = outputs(s3, bucket)
    run = Run(aws, "odd-names", max_instances=1)
    assert run.start() == len(ODD)
    wait_for_all([run])
    assert run.verify() == {"transcribed": len(ODD), "rejected": 0, "replaced": 0, "missing": 0}
    assert sorted(ledger.waiting("")) == sorted(LEFT_ALONE)
    made = [key for key in outputs(s3, bucket) if key not in before]
    assert len(made) == len(ODD)
    same = [key for key in made if key.startswith("output/same")]
    assert same == ["output/same", "output/same.mp3", "output/same.wav"]
    for name in ODD:
        copy = s3.get_object(Bucket=bucket, Key=f"processed/{name}")
        assert copy["Body"].read() == recording()
    for key in made:
        text = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode().strip()
        assert text == TEXTS[SHORT]


def outputs(s3: Any, bucket: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="output/")
    return [item["Key"] for page in pages for item in page.get("Contents", ())]
