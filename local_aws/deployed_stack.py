"""Reads the options of the pipeline from a stack on AWS, for an Airflow on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployment_target import client, outputs_of, stack_of

from transcription_contract import deployment

_OF_THE_SCHEDULER = ("upload_queue_url",)  # the stack itself reads this queue


class NoStackError(Exception):
    """The stack does not exist. The message says what to do."""


def deployed_options(cloud_assembly: Path) -> tuple[dict[str, str], str]:
    """Airflow's options of the deployed pipeline, such as `transcription.bucket`, and the stack's region.

    Raises:
        NoStackError: there is no such stack.
    """
    stack, region = stack_of(cloud_assembly)
    cloudformation = client("cloudformation", region)
    outputs = outputs_of(stack, cloudformation)
    if outputs is None:
        raise NoStackError(f"There is no stack {stack} in this account and region. Run `make deploy` first.")
    found = _of_orchestrator(outputs, region) if "RunDefinitionName" in outputs else _of_mwaa(outputs, region)
    left_out = {f"{deployment.CONFIG_SECTION}.{name}" for name in _OF_THE_SCHEDULER}
    return {name: value for name, value in found.items() if name not in left_out}, str(cloudformation.meta.region_name)


def _of_mwaa(outputs: Mapping[str, str], region: str | None) -> dict[str, str]:
    environment = client("mwaa", region).get_environment(Name=outputs["AirflowEnvironmentName"])["Environment"]
    return dict(environment["AirflowConfigurationOptions"])


def _of_orchestrator(outputs: Mapping[str, str], region: str | None) -> dict[str, str]:
    pages = (
        client("batch", region)
        .get_paginator("describe_job_definitions")
        .paginate(jobDefinitionName=outputs["RunDefinitionName"], status="ACTIVE")
    )
    newest = max((item for page in pages for item in page["jobDefinitions"]), key=lambda item: int(item["revision"]))
    return orchestrator_options(newest["ecsProperties"]["taskProperties"][0])


def orchestrator_options(task: Mapping[str, Any]) -> dict[str, str]:
    """Airflow's options in the variables of the orchestrator's task."""
    prefix = f"AIRFLOW__{deployment.CONFIG_SECTION.upper()}__"
    return {
        f"{deployment.CONFIG_SECTION}.{item['name'].removeprefix(prefix).lower()}": item["value"]
        for container in task["containers"]
        for item in container["environment"]
        if item["name"].startswith(prefix)
    }
