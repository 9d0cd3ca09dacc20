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

from transcription import batch_jobs, model_rules
from transcription.bucket import Bucket
from transcription.configuration import Configuration
from transcription.errors import ModelUnusable, SettingError
from transcription.model_rules import Image, ModelFacts, ModelRule
from transcription.planning import StoredObject
from transcription.selection import Selection
from transcription_contract import deployment, layout, model_files
from transcription_contract.model_files import BuiltInModel, FileRole, ModelChoice, ModelKind, S3Place
from transcription_contract.run_options import RunOptions
from transcription_contract.speech_engines import EngineError, SpeechEngine, choose_engine

log = logging.getLogger(__name__)


def image_of(client: Any, job_definition: str) -> Image:
    """The models in the newest revision of the job definition.

    Args:
        client: A boto3 client of Batch.
        job_definition: Its name, name and revision, or ARN.

    Raises:
        SettingError: there is no such job definition, or it does not say what its image has.
    """
    newest = batch_jobs.newest_definition(client, job_definition)
    if newest is None:
        raise SettingError(f"AWS Batch has no active job definition {job_definition!r}: deploy the stack.")
    variables = {
        item["name"]: item["value"]
        for container in batch_jobs.containers(newest)
        for item in container.get("environment", ())
    }
    stated = newest.get("parameters", {})
    try:
        built_in = json.loads(stated[deployment.BUILT_IN_MODELS])
        engines = json.loads(stated[deployment.ENGINES])
        return Image(
            built_in={name: BuiltInModel.of_json(facts) for name, facts in built_in.items()},
            engines=tuple(SpeechEngine.of_json(name, facts) for name, facts in engines.items()),
            model=stated[deployment.IMAGE_MODEL],
            default=ModelChoice(variables.get(deployment.MODEL_VARIABLE), variables.get(deployment.SCORER_VARIABLE)),
            revision=newest["jobDefinitionArn"],
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise SettingError(
            f"The job definition {newest['jobDefinitionArn']} is of another version of this pipeline: deploy the stack."
        ) from error


class ModelCheck:
    """Checks each model and scorer once.

    Args:
        bucket: The audio bucket's name.
        image: What the job definition says.
        engine: The engine that the run names, if it names one.
    """

    def __init__(self, bucket: str, image: Image, engine: str | None = None) -> None:
        self._bucket = bucket
        self._image = image
        self._engine = engine
        self._good_scorers: set[str] = set()
        self._s3 = boto3.client("s3", config=Config(retries={"mode": "standard", "max_attempts": 8}))

    def __call__(self, choice: ModelChoice) -> ModelFacts:
        """What is known of the model.

        Raises:
            ModelUnusable: the model or the scorer is absent or malformed, or the image has no engine for the model.
        """
        found = self._model(choice.model or self._image.model)
        if choice.scorer and not model_files.is_no_scorer(choice.scorer) and choice.scorer not in self._good_scorers:
            self._scorer(choice.scorer)
            self._good_scorers.add(choice.scorer)
        if found is None:
            return ModelFacts(None, 0)
        try:
            return ModelFacts(choose_engine(self._image.engines, found.kind, self._engine), found.size, found.language)
        except EngineError as error:
            raise ModelUnusable(f"{error}.") from error

    def _model(self, name: str) -> BuiltInModel | None:
        """The model's kind and size, or None if Airflow may not read it."""
        if not model_files.is_s3_url(name):
            self._check_name(FileRole.MODEL, name)
            return self._image.built_in[name]
        place = _place(FileRole.MODEL, name)
        if model_files.is_folder(name):
            return self._folder(name, place)
        found = self._file(FileRole.MODEL, name, place)
        kind = model_files.recognise(*found) if found else None
        return BuiltInModel(kind, found[0]) if found and isinstance(kind, ModelKind) else None

    def _scorer(self, name: str) -> None:
        if model_files.is_s3_url(name):
            self._file(FileRole.SCORER, name, _place(FileRole.SCORER, name))
        else:
            self._check_name(FileRole.SCORER, name)

    def _check_name(self, role: FileRole, name: str) -> None:
        if name not in self._image.built_in:
            known = ", ".join(sorted(self._image.built_in))
            raise ModelUnusable(f"The {role.value} is {name!r}; it must be s3://bucket/key or a built-in one: {known}.")

    def _file(self, role: FileRole, url: str, place: S3Place) -> tuple[int, bytes, bytes] | None:
        """The size, head and tail of a model's or scorer's file, or None if Airflow may not read it."""
        try:
            size, head = self._head(place)
            tail = self._read(place, f"bytes=-{model_files.TAIL_BYTES}") if head else b""
        except ClientError as error:
            self._judge(error, role, url, place)
            return None
        fault = model_files.fault(role, size, head, tail)
        if fault:
            raise ModelUnusable(
                f"{url} is not a {role.value} of DeepSpeech ({fault}): upload it again, or name another one."
            )
        return size, head, tail

    def _folder(self, url: str, place: S3Place) -> BuiltInModel | None:
        """The kind and size of a folder's model, or None if Airflow may not read it."""
        files: dict[str, bytes] = {}
        size = 0
        for name in model_files.FOLDER_FILES:
            file = S3Place(place.bucket, place.key + name)
            try:
                length, head = self._head(file)
                if name == model_files.CONFIG and length > len(head):
                    head = self._read(file, f"bytes=0-{model_files.HEAD_BYTES * 16}")
                files[name] = head
            except ClientError as error:
                if _status(error) == 404:
                    continue
                self._judge(error, FileRole.MODEL, url + name, file)
                return None
            size = length if name == model_files.WEIGHTS else size
        if not files:
            raise ModelUnusable(f"There is no folder {url} with a model: upload the model there, or name another one.")
        fault = model_files.folder_fault(files, size)
        if fault:
            raise ModelUnusable(f"{url} is not a Whisper model ({fault}): upload it again, or name another one.")
        return BuiltInModel(ModelKind.WHISPER, size, model_files.only_language(files[model_files.CONFIG]))

    def _head(self, place: S3Place) -> tuple[int, bytes]:
        """Size of an object, and its first bytes. S3 refuses a range of an empty one."""
        size: int = self._s3.head_object(Bucket=place.bucket, Key=place.key)["ContentLength"]
        return size, self._read(place, f"bytes=0-{model_files.HEAD_BYTES - 1}") if size else b""

    def _judge(self, error: ClientError, role: FileRole, url: str, place: S3Place) -> None:
        """Raise what an error of S3 means. Return if Airflow may not read what the children may."""
        status = _status(error)
        if status == 404:
            folder = f" If it is a folder, write {url}/." if role is FileRole.MODEL else ""
            raise ModelUnusable(
                f"There is no object {url}: upload the {role.value} there, or name another one.{folder}"
            ) from error
        if status != 403:
            raise error
        if place.bucket == self._bucket:
            raise ModelUnusable(
                f"The {role.value} {url} may not be read: put it under {place.bucket}/models/, where it may be."
            ) from error
        log.warning("Airflow may not read %s, so only the children will see whether it is a %s.", url, role.value)

    def _read(self, place: S3Place, span: str) -> bytes:
        body: bytes = self._s3.get_object(Bucket=place.bucket, Key=place.key, Range=span)["Body"].read()
        return body


def _place(role: FileRole, url: str) -> S3Place:
    try:
        return model_files.s3_place(url)
    except ValueError as error:
        raise ModelUnusable(f"The {role.value} {error}.") from error


def _status(error: ClientError) -> int:
    status: int = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return status


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

    def rule(self, choice: ModelChoice, engine: str | None) -> ModelRule:
        """The rule that gives each recording its model.

        Args:
            choice: The model and scorer that the run names.
            engine: The engine that it names.
        """
        folders = model_rules.of_folders(self.bucket, (item.key for item in self.objects))
        return ModelRule(choice, self.image, folders, ModelCheck(self.bucket, self.image, engine))

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
