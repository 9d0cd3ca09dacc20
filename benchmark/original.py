"""The original's way: download each recording, run the `deepspeech` command, upload the transcript, move the recording.

`python original.py COMMAND MODEL SCORER` processes the manifest of MANIFEST_PREFIX and AWS_BATCH_JOB_ARRAY_INDEX in
S3_BUCKET_NAME. The worker processes the same manifest, so both do the same work. This program is faster than the
original in one point: it uses one S3 client for all files. The original starts the AWS command line for each call.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import boto3


def main(command: str, model: str, scorer: str) -> None:
    bucket = os.environ["S3_BUCKET_NAME"]
    s3 = boto3.client("s3")
    manifest = os.environ["MANIFEST_PREFIX"] + os.environ["AWS_BATCH_JOB_ARRAY_INDEX"]
    lines = s3.get_object(Bucket=bucket, Key=manifest)["Body"].read().decode().splitlines()[1:]  # without the header
    with tempfile.TemporaryDirectory() as scratch:
        audio = Path(scratch) / "audio.wav"
        for line in map(json.loads, lines):
            audio.write_bytes(s3.get_object(Bucket=bucket, Key=line["source_key"])["Body"].read())
            arguments = [command, "--model", model, "--audio", str(audio)]
            if scorer != "none":
                arguments += ["--scorer", scorer]
            done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            transcript_key = line["source_key"].replace("input/", "output/", 1)
            s3.put_object(Bucket=bucket, Key=transcript_key, Body=done.stdout)
            source = {"Bucket": bucket, "Key": line["source_key"]}
            s3.copy_object(Bucket=bucket, Key=line["source_key"].replace("input/", "processed/", 1), CopySource=source)
            s3.delete_object(**source)


if __name__ == "__main__":
    main(*sys.argv[1:])
