"""What the page's server works with: settings, AWS's clients and what it keeps of the bucket."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from transcription import configuration
from transcription.bucket import Bucket
from transcription.configuration import Configuration
from transcripts_page.catalogue import Catalogue
from transcripts_page.live import LiveRuns


@dataclass(frozen=True)
class Resources:
    """One per process. Its members may be used by several threads."""

    settings: Configuration
    bucket: Bucket
    s3: Any
    """A client whose presigned addresses work in a browser in every region."""
    batch: Any
    logs: Any
    catalogue: Catalogue
    live: LiveRuns

    @property
    def browser_origin(self) -> str:
        """Where a browser plays audio from and uploads to, such as https://bucket.s3.eu-west-1.amazonaws.com."""
        url = urlsplit(self.s3.generate_presigned_url("get_object", Params={"Bucket": self.bucket.name, "Key": "a"}))
        return f"{url.scheme}://{url.netloc}"


@cache
def resources() -> Resources:
    """The resources of this process, made by the first request."""
    settings = configuration.load()
    # boto3's default signs for a region-less host with an old signature in some regions.
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "virtual"},
        retries={"mode": "standard", "max_attempts": 4},
        max_pool_connections=32,
    )
    s3 = boto3.client("s3", config=config)
    batch = boto3.client("batch")
    bucket = Bucket(settings.bucket)
    return Resources(
        settings=settings,
        bucket=bucket,
        s3=s3,
        batch=batch,
        logs=boto3.client("logs"),
        catalogue=Catalogue(s3, settings.bucket, _folder(settings.bucket)),
        live=LiveRuns(settings, bucket, batch),
    )


def _folder(bucket: str) -> Path:
    """Where this user's processes keep files of the bucket. They hold transcripts, so nobody else may read them."""
    folder = Path(tempfile.gettempdir()) / f"transcripts-page-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.is_symlink():
        raise PermissionError(f"The folder {folder} belongs to somebody else. Delete it, or set TMPDIR to another one.")
    folder.chmod(0o700)
    return folder / bucket
