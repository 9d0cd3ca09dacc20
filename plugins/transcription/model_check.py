"""Whether the models that a run would use are there, asked of AWS before anything is paid for."""

from __future__ import annotations

import logging
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError

from transcription import models
from transcription.errors import ModelUnusable, SettingError
from transcription.models import Image, ModelChoice, What

log = logging.getLogger(__name__)

_BUILT_IN = "built_in_models"  # the definition's parameter with the names, parted by spaces


def image_of(client: Any, job_definition: str) -> Image:
    """What the newest revision of the job definition says of models.

    Args:
        client: A boto3 client of Batch.
        job_definition: Its name, name and revision, or ARN.

    Raises:
        SettingError: there is none.
    """
    which = {"jobDefinitions": [job_definition]} if ":" in job_definition else {"jobDefinitionName": job_definition}
    pages = client.get_paginator("describe_job_definitions").paginate(**which, status="ACTIVE")
    found = [definition for page in pages for definition in page["jobDefinitions"]]
    if not found:
        raise SettingError(f"AWS Batch has no active job definition {job_definition!r}: deploy the stack.")
    newest = max(found, key=lambda definition: definition["revision"])
    variables = {
        item["name"]: item["value"]
        for task in newest.get("ecsProperties", {}).get("taskProperties", ())
        for container in task["containers"]
        for item in container.get("environment", ())
    }
    return Image(
        built_in=frozenset(newest.get("parameters", {}).get(_BUILT_IN, "").split()),
        default=ModelChoice(variables.get("MODEL"), variables.get("SCORER")),
    )


class ModelCheck:
    """Looks at each model and scorer once.

    Args:
        bucket: The audio bucket's name.
        image: What the job definition says.
    """

    def __init__(self, bucket: str, image: Image) -> None:
        self._bucket = bucket
        self._image = image
        self._good: set[tuple[What, str]] = set()
        self._s3 = boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 8}))

    def __call__(self, choice: ModelChoice) -> None:
        """Raises ModelUnusable if the model or the scorer is not there, or is none."""
        if choice.model:
            self._look("model", choice.model)
        if choice.scorer and choice.scorer.lower() != "none":
            self._look("scorer", choice.scorer)

    def _look(self, what: What, name: str) -> None:
        if (what, name) in self._good:
            return
        if name.startswith("s3://"):
            self._look_at_object(what, name)
        elif name not in self._image.built_in:
            known = ", ".join(sorted(self._image.built_in))
            raise ModelUnusable(f"The {what} is {name!r}, which must be s3://bucket/key or built-in: {known}.")
        self._good.add((what, name))

    def _look_at_object(self, what: What, url: str) -> None:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        try:
            place = {"Bucket": bucket, "Key": key}
            size = self._s3.head_object(**place)["ContentLength"]
            head = tail = b""
            if size >= models.LEAST_BYTES:
                head = self._read(place, f"bytes=0-{models.HEAD_BYTES - 1}")
                tail = self._read(place, f"bytes=-{models.TAIL_BYTES}")
        except ParamValidationError as error:
            raise ModelUnusable(f"The {what} {url!r} is no s3://bucket/key: name it so.") from error
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 404:
                raise ModelUnusable(
                    f"There is no object {url}: upload the {what} there, or name another one."
                ) from error
            if status != 403:
                raise
            if bucket == self._bucket:
                raise ModelUnusable(
                    f"The {what} {url} may not be read: put it under {bucket}/models/, where it may be."
                ) from error
            log.warning("Airflow may not read %s, so only the children will see whether it is a %s.", url, what)
            return
        fault = models.fault(what, size, head, tail)
        if fault:
            raise ModelUnusable(f"{url} is no {what} of DeepSpeech ({fault}): upload it again, or name another one.")

    def _read(self, place: dict[str, str], span: str) -> bytes:
        body: bytes = self._s3.get_object(**place, Range=span)["Body"].read()
        return body
