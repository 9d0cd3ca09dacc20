"""Check that a run's models exist, before the run starts containers."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from transcription import model_rules
from transcription.bucket import Bucket
from transcription.configuration import Configuration
from transcription.errors import ModelUnusable, SettingError
from transcription.model_rules import Image, ModelRule
from transcription.planning import StoredObject
from transcription.selection import Selection
from transcription_contract import deployment, layout, model_files
from transcription_contract.model_files import FileRole, ModelChoice
from transcription_contract.run_options import RunOptions

log = logging.getLogger(__name__)


def image_of(client: Any, job_definition: str) -> Image:
    """The models in the newest revision of the job definition.

    Args:
        client: A boto3 client of Batch.
        job_definition: Its name, name and revision, or ARN.

    Raises:
        SettingError: there is no such job definition.
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
        built_in=frozenset(newest.get("parameters", {}).get(deployment.BUILT_IN_MODELS, "").split()),
        default=ModelChoice(variables.get(deployment.MODEL_VARIABLE), variables.get(deployment.SCORER_VARIABLE)),
        revision=newest["jobDefinitionArn"],
    )


class ModelCheck:
    """Checks each model and scorer once.

    Args:
        bucket: The audio bucket's name.
        image: What the job definition says.
    """

    def __init__(self, bucket: str, image: Image) -> None:
        self._bucket = bucket
        self._image = image
        self._good: set[tuple[FileRole, str]] = set()
        self._s3 = boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 8}))

    def __call__(self, choice: ModelChoice) -> None:
        """Raises ModelUnusable if the model or the scorer is absent or malformed."""
        if choice.model:
            self._look(FileRole.MODEL, choice.model)
        if choice.scorer and not model_files.is_no_scorer(choice.scorer):
            self._look(FileRole.SCORER, choice.scorer)

    def _look(self, role: FileRole, name: str) -> None:
        if (role, name) in self._good:
            return
        if model_files.is_s3_url(name):
            self._look_at_object(role, name)
        elif name not in self._image.built_in:
            known = ", ".join(sorted(self._image.built_in))
            raise ModelUnusable(f"The {role.value} is {name!r}; it must be s3://bucket/key or a built-in one: {known}.")
        self._good.add((role, name))

    def _look_at_object(self, role: FileRole, url: str) -> None:
        try:
            found = model_files.s3_place(url)
        except ValueError as error:
            raise ModelUnusable(f"The {role.value} {error}.") from error
        bucket, place = found.bucket, {"Bucket": found.bucket, "Key": found.key}
        try:
            size = self._s3.head_object(**place)["ContentLength"]
            head = tail = b""
            if size >= model_files.LEAST_BYTES:
                head = self._read(place, f"bytes=0-{model_files.HEAD_BYTES - 1}")
                tail = self._read(place, f"bytes=-{model_files.TAIL_BYTES}")
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 404:
                raise ModelUnusable(
                    f"There is no object {url}: upload the {role.value} there, or name another one."
                ) from error
            if status != 403:
                raise
            if bucket == self._bucket:
                raise ModelUnusable(
                    f"The {role.value} {url} may not be read: put it under {bucket}/models/, where it may be."
                ) from error
            log.warning("Airflow may not read %s, so only the children will see whether it is a %s.", url, role.value)
            return
        fault = model_files.fault(role, size, head, tail)
        if fault:
            raise ModelUnusable(
                f"{url} is not a {role.value} of DeepSpeech ({fault}): upload it again, or name another one."
            )

    def _read(self, place: dict[str, str], span: str) -> bytes:
        body: bytes = self._s3.get_object(**place, Range=span)["Body"].read()
        return body


@dataclass(frozen=True)
class Models:
    """The models that a run can use."""

    bucket: str
    image: Image
    objects: tuple[StoredObject, ...]
    """What is under `models/`."""

    @classmethod
    def of(cls, bucket: Bucket, settings: Configuration) -> Models:
        """The models of the bucket and of the worker's image."""
        image = image_of(boto3.client("batch"), settings.job_definition)
        return cls(bucket.name, image, tuple(bucket.listing(layout.MODELS)))

    def rule(self, choice: ModelChoice) -> ModelRule:
        """The rule that gives each recording its model.

        Args:
            choice: What the run names.
        """
        folders = model_rules.of_folders(self.bucket, (item.key for item in self.objects))
        return ModelRule(choice, self.image, folders, ModelCheck(self.bucket, self.image))

    def made_from(self, run_options: RunOptions, selection: Selection) -> str:
        """Another text if a plan would be made otherwise, or its job would give other words; see `PlanSummary`.

        A model outside the bucket counts by its name alone.
        """
        facts = (
            asdict(run_options),
            str(selection),
            self.image.revision,
            [(item.key, item.etag) for item in self.objects],
        )
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
