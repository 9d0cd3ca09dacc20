"""Names that the stack gives to AWS and that Airflow and the worker use there."""

from __future__ import annotations

CONFIG_SECTION = "transcription"
"""Section of Airflow's configuration that holds the pipeline's settings."""

CONTAINER = "worker"
"""The job definition's container, to which `submit` gives a run's variables."""

COMMAND = ("python", "-m", "transcriber")
"""What the container runs."""

# Parameters of the job definition, from which `plan` learns what the image has. The command uses none of them.
BUILT_IN_MODELS = "built_in_models"
"""The image's models: a JSON object, name to `BuiltInModel.to_json`."""
IMAGE_MODEL = "image_model"
"""Name of the model that the image uses unless a run or the deployment names another."""
ENGINES = "engines"
"""The image's engines: a JSON object, name to `SpeechEngine.to_json`."""

# Environment variables of the container.
BUCKET_VARIABLE = "S3_BUCKET_NAME"
MANIFEST_PREFIX_VARIABLE = "MANIFEST_PREFIX"
ARRAY_INDEX_VARIABLE = "AWS_BATCH_JOB_ARRAY_INDEX"
MODEL_VARIABLE = "MODEL"
SCORER_VARIABLE = "SCORER"
MODELS_FOLDER_VARIABLE = "MODELS_DIR"
ENGINES_FOLDER_VARIABLE = "ENGINES_DIR"

ORCHESTRATOR_CONTAINER = "orchestrator"
ORCHESTRATOR_COMMAND = ("python", "-m", "orchestrator")
"""What the container runs that runs the DAG once; its arguments are the two parameters below, in this order."""

RUN_TIME = "time"
"""Parameter of the orchestrator's job: the time that the run's id is made of, ISO 8601, or `TIME_OF_SUBMISSION`."""

RUN_CONF = "conf"
"""Parameter of the orchestrator's job: the run's params as JSON."""

TIME_OF_SUBMISSION = "submission"

RUN_JOB = "transcription-run"
"""Name of every job of the orchestrator."""

MAX_CHILDREN = 10_000
"""Largest array job: https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html"""

RUN_ENDED_EVENT = "Transcription Run Ended"
"""Detail type of the EventBridge event at each run's end."""

# CloudWatch metrics that the tasks publish, from which the stack makes alarms and a dashboard.
METRIC_RUNS = "RunsStarted"
METRIC_RUN_HOURS = "RunHours"
METRIC_FILES_TRANSCRIBED = "FilesTranscribed"
METRIC_FILES_REJECTED = "FilesRejected"
METRIC_FILES_MISSING = "FilesMissing"
METRIC_AUDIO_HOURS = "AudioHours"
METRIC_COST = "CostEstimateUsd"
METRIC_OLDEST_WAITING = "OldestWaitingHours"
