"""All settings of the DAG and its tasks.

They are options of the section `[transcription]` of Airflow's configuration. Amazon MWAA passes its
`airflow_configuration_options` as environment variables (`transcription.bucket` becomes
`AIRFLOW__TRANSCRIPTION__BUCKET`), so the code contains no name of a deployment.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, get_type_hints

from airflow.sdk import conf

from transcription.errors import SettingError
from transcription_contract.deployment import CONFIG_SECTION


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Where the pipeline runs and what an hour of it costs."""

    bucket: str
    """Name of the audio bucket."""
    job_queue: str
    """Name or ARN of the Batch job queue."""
    job_definition: str
    """Name or ARN of the Batch job definition that runs the worker."""
    schedule: str = "0 1 * * *"
    """When the DAG runs, as a cron expression in UTC."""
    upload_queue_url: str = ""
    """SQS queue with a message for each upload, which starts runs between those of the schedule; empty: none."""
    quiet_minutes: float = 10.0
    """For how long nothing must have been uploaded before a run starts; for `upload_queue_url`."""
    max_instances_default: int = 20
    """Default of the DAG's param `max_instances`."""
    vcpus_per_child: float = 2.0
    """vCPUs of one child, as in the job definition: for the cost estimate."""
    memory_gb_per_child: float = 4.0
    """Memory of one child in GB, as in the job definition: for the cost estimate."""
    usd_per_vcpu_hour: float = 0.04048
    """Price of a vCPU hour (Fargate on demand, Linux x86, us-east-1, 2026)."""
    usd_per_gb_hour: float = 0.004445
    """Price of a GB of memory for an hour (Fargate on demand, Linux x86, us-east-1, 2026)."""
    cpu_seconds_per_audio_second: float = 0.0
    """What a child takes of its vCPUs for each second of audio, for the estimate before a run. 0: what was
    measured for the model's engine (`engine.toml`)."""
    child_start_seconds: float = 60.0
    """Image pull, start and model load of a child, for the estimate before a run."""
    max_usd: float = 0.0
    """Default of the DAG's param `max_usd`; 0: no limit."""
    built_in_models: str = ""
    """Names of the image's models, separated by spaces: what the trigger form suggests."""
    engines: str = ""
    """Names of the image's engines, separated by spaces: what the trigger form suggests."""
    poll_seconds: float = 30.0
    """Time between two requests for the Batch job's state."""
    deadline_hours: float = 48.0
    """The task `wait` stops a job that runs longer."""
    notification_topic_arn: str = ""
    """SNS topic that gets each run's summary; empty: none."""
    metrics_namespace: str = ""
    """CloudWatch namespace for the counts of each run; empty: none."""
    event_source: str = ""
    """Source of the EventBridge event at each run's end; empty: none."""


def option(name: str) -> Any:
    """One setting, or its default: all that a DAG file may ask for while it is parsed.

    Raises:
        SettingError: the option is required and missing, or is no number where a number is needed.
    """
    (field,) = (field for field in fields(Configuration) if field.name == name)
    text = conf.get(CONFIG_SECTION, name, fallback="")
    if not text:
        if field.default is MISSING:
            raise SettingError(
                f"The Airflow configuration lacks the option {name!r} of section [{CONFIG_SECTION}]. "
                f"Set it as `{CONFIG_SECTION}.{name}` in the MWAA environment's configuration options, "
                f"or as the variable AIRFLOW__{CONFIG_SECTION.upper()}__{name.upper()}."
            )
        return field.default
    try:
        return get_type_hints(Configuration)[name](text)
    except ValueError:
        raise SettingError(
            f"The option {name!r} of section [{CONFIG_SECTION}] is {text!r}, which is no number."
        ) from None


def load() -> Configuration:
    """All settings, from Airflow's configuration.

    Raises:
        SettingError: as `option`.
    """
    return Configuration(**{field.name: option(field.name) for field in fields(Configuration)})
